"""Checkpoints of the published full-size architectures, made of random numbers and dropped again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from easyphoto.config import Family
from tests import tiny, tiny_files

TOKENS = 49408
UNETS: dict[Family, dict[str, Any]] = {
    Family.SD1: {"cross_attention_dim": 768, "attention_head_dim": 8},
    Family.SD2: {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
    Family.SDXL: {
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "use_linear_projection": True,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def text(cls: Any, width: int, layers: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=TOKENS,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        max_position_embeddings=77,
    )
    return cls(config)


def state_of(family: Family) -> dict[str, torch.Tensor]:
    """Names and shapes of a checkpoint of the family as it is published; the tensors have no contents."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS[family])
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
        state = {f"model.diffusion_model.{k}": v for k, v in tiny_files.original_unet(unet.state_dict()).items()}
        state |= {f"first_stage_model.{k}": v for k, v in tiny_files.original_vae(vae.state_dict()).items()}
        clip = text(CLIPTextModel, 768, 12).state_dict()
        if family is Family.SD1:
            state |= {f"cond_stage_model.transformer.{k}": v for k, v in clip.items()}
        elif family is Family.SD2:
            large = tiny_files.open_clip(text(CLIPTextModel, 1024, 23), spare=True)
            state |= {f"cond_stage_model.model.{k}": v for k, v in large.items()}
        else:
            large = tiny_files.open_clip(text(CLIPTextModelWithProjection, 1280, 32))
            state |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in clip.items()}
            state |= {f"conditioner.embedders.1.model.{k}": v for k, v in large.items()}
    if family is Family.SDXL:
        # The sampler of a block with attention comes third in the published file.
        state = {re.sub(r"output_blocks\.2\.1\.conv", "output_blocks.2.2.conv", k): v for k, v in state.items()}
    return state


def write(path: Path, family: Family, *, sparse: bool = False) -> Path:
    """A checkpoint in 16 bits: normal numbers of a fresh network's size, or with ``sparse`` nothing but its length,
    which takes no room on the disk."""
    return _write(path, state_of(family), sparse=sparse)


def write_controlnet(path: Path, family: Family) -> Path:
    """A ControlNet of the family in 16 bits, in diffusers' naming."""
    with torch.device("meta"):
        config = {name: value for name, value in UNETS[family].items() if name != "up_block_types"}
        model = ControlNetModel(**config)
    return _write(path, model.state_dict())


def _write(path: Path, state: Mapping[str, torch.Tensor], *, sparse: bool = False) -> Path:
    entries: dict[str, Any] = {}
    end = 0
    for name, tensor in state.items():
        start, end = end, end + 2 * tensor.numel()
        entries[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if sparse:
            file.truncate(8 + len(header) + end)
            return path
        blocks: dict[tuple[float, float], bytes] = {}
        for name, tensor in state.items():
            norm = "norm" in name or ".ln_" in name or tensor.dim() < 2
            scale = 0.0 if norm else tensor[0].numel() ** -0.5
            shift = 1.0 if norm and name.endswith("weight") else 0.0
            block = blocks.get((scale, shift)) or blocks.setdefault((scale, shift), _numbers(scale, shift))
            left = 2 * tensor.numel()
            while left > 0:
                file.write(block[:left])
                left -= len(block)
    return path


def _numbers(scale: float, shift: float) -> bytes:
    """Some hundred thousand normal numbers in 16 bits. Files repeat them: making two billion takes minutes."""
    source = np.random.default_rng(1).standard_normal(300_007, dtype=np.float32)
    return (source * np.float32(scale) + np.float32(shift)).astype(np.float16).tobytes()


def vocabulary(folder: Path) -> Path:
    """A tokenizer with as many tokens as CLIP's, most of them never used."""
    tiny.tokenizer(folder)
    known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    marks = ["<|startoftext|>", "<|endoftext|>"]
    words = [w for w in known if w not in marks]
    words += [f"unused{i}</w>" for i in range(TOKENS - len(words) - 2)] + marks
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}), encoding="utf-8")
    return folder
