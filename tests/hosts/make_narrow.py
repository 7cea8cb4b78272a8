"""Random models that are SD1.5 in every shape but the width: 10 MB of UNet, steps of a fraction of a second.

    python tests/hosts/make_narrow.py WEBUI_ROOT    (with the Python of an AUTOMATIC1111 1.10 and its repositories)

Writes ``models/Stable-diffusion/narrow-sd15.safetensors`` (and a second one, to switch to) with the ``.yaml`` that says
their shape, ``models/VAE/narrow.vae.safetensors``, and four ControlNets under the names of the real ones. Link or copy
the files for a Forge; there ``narrow_models`` says the shape.
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


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
