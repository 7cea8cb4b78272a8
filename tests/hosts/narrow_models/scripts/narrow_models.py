"""An extension for tests alone: lets a WebUI load the narrow random models of ``make_narrow.py``, and says when
"Reload UI" has stopped the old server.

ControlNet's table and Forge's know only full-size models; the tables are changed in memory, at run time. The folder is
linked into the WebUI's ``extensions`` by ``tests/hosts/test_real_webui.py`` and taken away afterwards.
"""

import importlib
import sys

from modules import script_callbacks

WIDTH = 32
VAE_WIDTHS = [32, 64, 128, 128]
SECOND_TEXT = "narrow-bigG"
SECOND = {
    "embed_dim": 1280,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1280, "heads": 20, "layers": 2},
}
"""SDXL's second text encoder, of the published width and two layers deep."""
GUESSES = ("huggingface_guess", "modules_forge.packages.huggingface_guess")
"""Forge Neo has the same package under two names, so its tables are there twice."""
ENCODERS = {
    "scripts.controlnet_model_guess": ("annotator.clipvision", "config_clip_h"),
    "backend.nn.vae": ("backend.patcher.clipvision", "CLIP_VISION_H"),
}
"""By a module of sd-webui-controlnet's and one of Forge's, where each says the shape of CLIP's image encoder."""


def patch(*_):
    guess = sys.modules.get("scripts.controlnet_model_guess")
    if guess is not None:
        for config in (guess.controlnet_default_config, guess.controlnet_sdxl_config):
            config["model_channels"] = WIDTH
    if "open_clip.factory" in sys.modules:
        sys.modules["open_clip.factory"]._MODEL_CONFIGS[SECOND_TEXT] = SECOND
    for name in GUESSES:
        if name in sys.modules:
            sys.modules[name].model_list.SD15.unet_config["model_channels"] = WIDTH
    for owner, (name, table) in ENCODERS.items():
        if owner in sys.modules:  # the module itself may not be imported before its first picture
            getattr(importlib.import_module(name), table).update(num_hidden_layers=2, intermediate_size=64)
    if "backend.nn.vae" in sys.modules:
        patch_backend(sys.modules["backend.nn.vae"].IntegratedAutoencoderKL)
    if "ldm_patched.modules.sd" in sys.modules and "modules_forge.forge_loader" in sys.modules:
        patch_ldm(sys.modules["ldm_patched.modules.sd"], sys.modules["ldm_patched.modules.supported_models"])
    print("narrow models can be loaded")


def patch_backend(autoencoder):
    """Forge and Forge Neo read the shape of a VAE from a file; Forge Neo imports the class anew for each."""
    load_config = autoencoder.load_config

    def narrow(path, *args, **kwargs):
        config = load_config(path, *args, **kwargs)
        if "v1-5" in str(path):
            config["block_out_channels"] = VAE_WIDTHS
        return config

    autoencoder.load_config = staticmethod(narrow)


def patch_ldm(sd, supported):
    """reForge has one width for the VAE of all models."""
    supported.SD15.unet_config["model_channels"] = WIDTH
    made = sd.AutoencoderKL
    if made.__name__ != "narrow":

        def narrow(ddconfig, **more):
            return made(ddconfig={**ddconfig, "ch": WIDTH}, **more)

        sd.AutoencoderKL = narrow


def be_patient(networking):
    """Gradio 3 gives its own page 3 seconds for the first answer and the WebUI up after them."""
    answers = networking.url_ok

    def answers_at_last(url):
        for _ in range(20):
            try:
                return answers(url)
            except OSError:  # a time-out of requests is one
                continue
        return answers(url)

    networking.url_ok = answers_at_last


if "gradio.networking" in sys.modules:
    be_patient(sys.modules["gradio.networking"])
patch()  # some load their first model before the page is built
script_callbacks.on_before_ui(patch)
script_callbacks.on_before_reload(lambda: print("the old server has stopped", flush=True))
