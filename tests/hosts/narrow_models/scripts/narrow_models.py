"""An extension for tests alone: lets a WebUI load the narrow random models of ``make_narrow.py``, and says when
"Reload UI" has stopped the old server.

ControlNet's table and Forge's know only full-size models; the tables are changed in memory, at run time. The folder is
linked into the WebUI's ``extensions`` by ``tests/hosts/test_real_webui.py`` and taken away afterwards.
"""

import sys

from modules import script_callbacks

WIDTH = 32
VAE_WIDTHS = [32, 64, 128, 128]


def patch(*_):
    guess = sys.modules.get("scripts.controlnet_model_guess")
    if guess is not None:
        guess.controlnet_default_config["model_channels"] = WIDTH
    if "modules_forge" in sys.modules:
        patch_forge()
    print("narrow models can be loaded")


def patch_forge():
    import backend.loader
    from huggingface_guess import model_list

    model_list.SD15.unet_config["model_channels"] = WIDTH
    load_config = backend.loader.IntegratedAutoencoderKL.load_config

    def narrow(path, *args, **kwargs):
        config = load_config(path, *args, **kwargs)
        if "v1-5" in str(path):
            config["block_out_channels"] = VAE_WIDTHS
        return config

    backend.loader.IntegratedAutoencoderKL.load_config = staticmethod(narrow)


script_callbacks.on_before_ui(patch)
script_callbacks.on_before_reload(lambda: print("the old server has stopped", flush=True))
