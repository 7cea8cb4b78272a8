"""The architecture of the bench checkpoint: what is Stable Diffusion 1.5's, only smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CONDITION_CHANNELS = (8, 16, 32, 64)
UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (96, 160, 208),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""What any sampler of diffusers has to know of the noise."""
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    **BETAS,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def make_unet() -> Any:
    """An untrained UNet, its output layer at zero."""
    from diffusers import UNet2DConditionModel
    from torch import nn

    unet = UNet2DConditionModel(**UNET)
    for name, module in unet.named_modules():
        closes = name.endswith(("conv2", "proj_out", "conv_out", "to_out.0", "ff.net.2"))
        if closes and isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return unet


def make_text_encoder(tokenizer: Any) -> Any:
    """An untrained text encoder for the tokenizer: 4 layers, 128 wide."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            projection_dim=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_controlnet(unet: Any) -> Any:
    """A ControlNet that starts as the UNet's encoder with zero convolutions: it changes nothing yet."""
    from diffusers import ControlNetModel

    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=CONDITION_CHANNELS)
    # As published, the last layer of the condition's embedding is zero as well as the convolutions into the UNet: two
    # zeros in a row learn from one another only slowly. One is enough to begin without any effect.
    control.controlnet_cond_embedding.conv_out.reset_parameters()
    return control


def find_part(name: str, *folders: Path | None) -> Path | None:
    """The first of the folders that has this part of a model, or None."""
    for folder in folders:
        if folder is not None and any((folder / name / file).is_file() for file in ("config.json", "vocab.json")):
            return folder / name
    return None


def need_part(name: str, *folders: Path | None) -> Path:
    """Like find_part, but the part has to be there."""
    found = find_part(name, *folders)
    if found is None:
        raise SystemExit(f"no {name} in {', '.join(str(folder) for folder in folders if folder)}: make it first")
    return found


def load_frozen(kind: Any, folder: Path, device: torch.device) -> Any:
    """A part that isn't trained: float32 on the device, in evaluation mode and without gradients."""
    return kind.from_pretrained(folder).float().requires_grad_(False).eval().to(device)


def load_tokenizer(folder: Path) -> Any:
    """The bench tokenizer."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
