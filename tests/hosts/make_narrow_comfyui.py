"""The random models of ``make_narrow`` made with ComfyUI's own modules.

    python tests/hosts/make_narrow_comfyui.py COMFYUI_ROOT FOLDER    (with the Python of that ComfyUI)

Writes ``narrow-sd15.safetensors`` and a second one into ``FOLDER/models/checkpoints``, a VAE and four ControlNets.
ComfyUI takes them together with the custom node ``narrow_comfyui``.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from make_narrow import CONTROLS, TEXT, WIDTH, controlnet

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": WIDTH,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "legacy": False,
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": WIDTH,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def main(root: Path, folder: Path) -> None:
    sys.path.insert(0, str(root))
    sys.argv[1:] = ["--cpu"]  # ComfyUI reads it when it is imported
    import comfy.options

    comfy.options.enable_args_parsing()
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = checkpoint()
    models = folder / "models"
    for kind in ("checkpoints", "vae", "controlnet", "loras"):
        (models / kind).mkdir(parents=True, exist_ok=True)
    for name, factor in (("narrow-sd15", 1.0), ("narrow-sd15-other", 1.01)):
        scaled = {k: v * factor if k.startswith("model.") and v.ndim > 1 else v for k, v in weights.items()}
        save_file(scaled, models / "checkpoints" / f"{name}.safetensors")
    prefix = "first_stage_model."
    vae = {k.removeprefix(prefix): v * 1.02 for k, v in weights.items() if k.startswith(prefix)}
    save_file(vae, models / "vae" / "narrow.vae.safetensors")
    for name in CONTROLS:
        save_file(controlnet(weights), models / "controlnet" / f"{name}.safetensors")


def checkpoint() -> dict[str, Any]:
    import comfy.ops
    import torch
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from transformers import CLIPTextConfig, CLIPTextModel

    parts = {
        "model.diffusion_model.": UNetModel(**UNET, dtype=torch.float32, operations=comfy.ops.disable_weight_init),
        "first_stage_model.": AutoencoderKL(ddconfig=VAE, embed_dim=4),
        "cond_stage_model.transformer.": CLIPTextModel(CLIPTextConfig(**TEXT)),
    }
    weights: dict[str, Any] = {}
    for prefix, module in parts.items():
        for name, value in module.state_dict().items():
            drawn = value if "text_model" in name else _drawn(name, value)
            weights[prefix + name] = (drawn.half() if drawn.is_floating_point() else drawn).clone().contiguous()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return {**weights, "betas": betas.float(), "alphas_cumprod": torch.cumprod(1 - betas, 0).float()}


def _drawn(name: str, value: Any) -> Any:
    """ComfyUI's modules come with whatever lay in memory."""
    import torch

    if value.ndim > 1:
        return torch.randn(value.shape) / math.sqrt(math.prod(value.shape[1:]))
    return torch.ones_like(value) if name.endswith("weight") else torch.zeros_like(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
