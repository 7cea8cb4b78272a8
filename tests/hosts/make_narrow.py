"""Random models that are SD1.5 in every shape but the width: 10 MB of UNet, steps of a fraction of a second.

    python tests/hosts/make_narrow.py WEBUI_ROOT    (with the Python of an AUTOMATIC1111 1.10 and its repositories)

Writes ``models/Stable-diffusion/narrow-sd15.safetensors`` (and a second one, to switch to) with the ``.yaml`` that says
their shape, ``models/VAE/narrow.vae.safetensors``, four ControlNets, an IP-Adapter and a motion module under the names
of the real ones, and CLIP's image encoder twice: for sd-webui-controlnet among its annotators, and for Forge in
``models/ControlNetPreprocessor``. Link or copy the files for a Forge; ``narrow_models`` says the shapes there, and that
of the encoder in both.

sd-webui-animatediff knows the published widths alone: for the narrow module write (32, 64, 128, 128) for (320, 640,
1280, 1280) and 128 for the other 1280 in its ``motion_module.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

WIDTH = 32
HINTS = ((16, 3), (16, 16), (32, 16), (32, 32), (96, 32), (96, 96), (256, 96), (WIDTH, 256))
CONTROLS = (
    "control_v11p_sd15_canny",
    "control_v11p_sd15_openpose",
    "control_v11f1e_sd15_tile",
    "control_sd15_random_color",
)
ADAPTER = "ip-adapter-full-face_sd15"
MOTION = "mm_sd15_v2"
FRAMES = 32
"""How many frames a module of the second layout knows."""
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
SEEN = {
    "hidden_size": 1280,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
"""ViT-H but for its depth: sd-webui-controlnet brings the features of an empty picture in the published width."""
FORGE_KNOWS = "vision_model.encoder.layers.30.layer_norm1.weight"
"""The weight by whose name Forge takes a file for ViT-H; the layer isn't used."""


def main(root: Path) -> None:
    sys.path.insert(0, str(root / "repositories" / "stable-diffusion-stability-ai"))
    import torch
    import yaml
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = yaml.safe_load((root / "configs" / "v1-inference.yaml").read_text(encoding="utf-8"))
    params = config["model"]["params"]
    params["unet_config"]["params"]["model_channels"] = WIDTH
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = WIDTH
    weights = checkpoint(params)
    models = root / "models"
    for name, factor in (("narrow-sd15", 1.0), ("narrow-sd15-other", 1.01)):
        scaled = {k: v * factor if k.startswith("model.") and v.ndim > 1 else v for k, v in weights.items()}
        save_file(scaled, models / "Stable-diffusion" / f"{name}.safetensors")
        (models / "Stable-diffusion" / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    prefix = "first_stage_model."
    vae = {k.removeprefix(prefix): v * 1.02 for k, v in weights.items() if k.startswith(prefix)}
    (models / "VAE").mkdir(exist_ok=True)
    save_file(vae, models / "VAE" / "narrow.vae.safetensors")
    (models / "ControlNet").mkdir(exist_ok=True)
    for name in CONTROLS:
        save_file(controlnet(weights), models / "ControlNet" / f"{name}.safetensors")
    write_adapter(root)
    (models / "AnimateDiff").mkdir(exist_ok=True)
    save_file(motion_module(), models / "AnimateDiff" / f"{MOTION}.safetensors")


def checkpoint(params: dict[str, Any]) -> dict[str, Any]:
    import torch
    from ldm.models.autoencoder import AutoencoderKL
    from ldm.modules.diffusionmodules.openaimodel import UNetModel
    from transformers import CLIPTextConfig, CLIPTextModel

    vae = params["first_stage_config"]["params"]
    parts = {
        "model.diffusion_model.": UNetModel(**params["unet_config"]["params"]),
        "first_stage_model.": AutoencoderKL(ddconfig=vae["ddconfig"], lossconfig=vae["lossconfig"], embed_dim=4),
        "cond_stage_model.transformer.": CLIPTextModel(CLIPTextConfig(**TEXT)),
    }
    weights: dict[str, Any] = {}
    for prefix, module in parts.items():
        for name, value in module.state_dict().items():
            zero = value.is_floating_point() and value.ndim > 1 and not value.any()
            kept = torch.randn_like(value) * 0.02 if zero else value
            weights[prefix + name] = (kept.half() if kept.is_floating_point() else kept).clone().contiguous()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return {**weights, "betas": betas.float(), "alphas_cumprod": torch.cumprod(1 - betas, 0).float()}


def controlnet(weights: dict[str, Any]) -> dict[str, Any]:
    """The UNet's encoder with layers that add something random, not zero."""
    import torch

    unet, own = "model.diffusion_model.", "control_model."
    encoder = ("time_embed", "input_blocks", "middle_block")
    found = {own + k.removeprefix(unet): v for k, v in weights.items() if k.removeprefix(unet).startswith(encoder)}

    def convolution(name: str, out: int, into: int, side: int) -> None:
        found[f"{own}{name}.weight"] = (torch.randn(out, into, side, side) * 0.1).half()
        found[f"{own}{name}.bias"] = torch.zeros(out).half()

    for i, width in enumerate([1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 4, 4]):
        convolution(f"zero_convs.{i}.0", width * WIDTH, width * WIDTH, 1)
    convolution("middle_block_out.0", 4 * WIDTH, 4 * WIDTH, 1)
    for i, (out, into) in enumerate(HINTS):
        convolution(f"input_hint_block.{2 * i}", out, into, 3)
    return found


def write_adapter(root: Path) -> None:
    """Write the IP-Adapter, and the image encoder in the files of both hosts."""
    import torch
    from safetensors.torch import save_file

    save_file(adapter(), root / "models" / "ControlNet" / f"{ADAPTER}.safetensors")
    encoder = image_encoder()
    of_forge = root / "models" / "ControlNetPreprocessor"
    of_forge.mkdir(exist_ok=True)
    save_file({**encoder, FORGE_KNOWS: torch.ones(1)}, of_forge / "CLIP-ViT-H-14.safetensors")
    extension = root / "extensions" / "sd-webui-controlnet"
    if extension.is_dir():
        file = extension / "annotator" / "downloads" / "clip_vision" / "clip_h.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(encoder, file)


def adapter() -> dict[str, Any]:
    """A full-face IP-Adapter: a net that makes a token of each patch, and further keys and values for the attentions to
    the text, which are numbered from the input over the output to the middle."""
    import torch

    seen, text = SEEN["hidden_size"], TEXT["hidden_size"]
    found: dict[str, Any] = {}
    for place, out, into in ((0, seen, seen), (2, text, seen)):
        found[f"image_proj.proj.{place}.weight"] = (torch.randn(out, into) * into**-0.5).half()
        found[f"image_proj.proj.{place}.bias"] = torch.zeros(out).half()
    found["image_proj.proj.3.weight"], found["image_proj.proj.3.bias"] = (
        torch.ones(text).half(),
        torch.zeros(text).half(),
    )
    for number, width in enumerate([1, 1, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1, 4]):
        for part in ("to_k_ip", "to_v_ip"):
            weight = torch.randn(width * WIDTH, text) * text**-0.5
            found[f"ip_adapter.{2 * number + 1}.{part}.weight"] = weight.half()
    return found


def image_encoder() -> dict[str, Any]:
    """CLIP's image encoder with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**SEEN))
    return {k: v.half() for k, v in encoder.state_dict().items() if v.is_floating_point()}


def motion_module() -> dict[str, Any]:
    """The layers along time in the second of AnimateDiff's layouts, which has one in the middle. All of them do
    something: what is zero when a training begins is random here."""
    widths = (WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH)
    found: dict[str, Any] = {}
    for block, width in enumerate(widths):
        for layer in range(2):
            found |= _along_time(f"down_blocks.{block}.motion_modules.{layer}", width)
        for layer in range(3):
            found |= _along_time(f"up_blocks.{3 - block}.motion_modules.{layer}", width)
    return found | _along_time("mid_block.motion_modules.0", widths[-1])


def _along_time(name: str, width: int) -> dict[str, Any]:
    import torch

    within = f"{name}.temporal_transformer"
    block = f"{within}.transformer_blocks.0"
    found: dict[str, Any] = {}

    def linear(place: str, out: int, into: int) -> None:
        found[f"{place}.weight"] = (torch.randn(out, into) * into**-0.5).half()
        found[f"{place}.bias"] = torch.zeros(out).half()

    def norm(place: str) -> None:
        found[f"{place}.weight"], found[f"{place}.bias"] = torch.ones(width).half(), torch.zeros(width).half()

    for place in (f"{within}.norm", f"{block}.norms.0", f"{block}.norms.1", f"{block}.ff_norm"):
        norm(place)
    for attention in (f"{block}.attention_blocks.0", f"{block}.attention_blocks.1"):
        for part in ("to_q", "to_k", "to_v"):
            found[f"{attention}.{part}.weight"] = (torch.randn(width, width) * width**-0.5).half()
        linear(f"{attention}.to_out.0", width, width)
        found[f"{attention}.pos_encoder.pe"] = torch.randn(1, FRAMES, width).half()
    linear(f"{within}.proj_in", width, width)
    linear(f"{within}.proj_out", width, width)
    linear(f"{block}.ff.net.0.proj", 8 * width, width)
    linear(f"{block}.ff.net.2", width, 4 * width)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
