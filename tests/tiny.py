"""Tiny random Stable Diffusion models in the published layouts, for tests.

``folder`` writes a diffusers folder, ``single_file`` the same weights as one file in the original naming,
``controlnet`` a ControlNet folder and ``lora_layers`` random LoRA layers for a loaded model. All are seeded: equal
arguments give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from easyphoto.sd import Parts, lora

CHANNELS = (32, 64)
WIDTH = 128
"""Width of the text embedding: that of the bench checkpoint, so these models count as its family."""

WORDS = ("photo", "face", "person", "easyphoto", "1person", "portrait", "smile", "hair", "dark", "light")

_LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out_0", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def folder(
    path: Path,
    *,
    seed: int = 0,
    width: int = WIDTH,
    prediction: str = "epsilon",
    channels: tuple[int, int] = CHANNELS,
) -> Path:
    """A whole checkpoint in diffusers' layout; pictures of it are multiples of 8 px. ``width`` 768 makes it SD1."""
    torch.manual_seed(seed)
    tokens = tokenizer(path / "tokenizer")
    UNet2DConditionModel(**{**unet_config(width), "block_out_channels": channels}).save_pretrained(path / "unet")
    AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    ).save_pretrained(path / "vae")
    CLIPTextModel(text_config(width, len(tokens))).save_pretrained(path / "text_encoder")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    ).save_pretrained(path / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return path


def unet_config(width: int = WIDTH) -> dict[str, Any]:
    return {
        "block_out_channels": CHANNELS,
        "layers_per_block": 1,
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": width,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }


def text_config(width: int, tokens: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
    )


def tokenizer(path: Path, words: Iterable[str] = WORDS) -> CLIPTokenizer:
    """A byte-pair tokenizer of CLIP's kind: every character, and each of ``words`` as one token."""
    path.mkdir(parents=True, exist_ok=True)
    characters = [chr(c) for c in range(33, 127)]
    vocabulary = characters + [f"{c}</w>" for c in characters]
    merges = ["#version: 0.2"]
    for word in words:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merge = f"{pieces[0]} {pieces[1]}"
            pieces[:2] = ["".join(pieces[:2])]
            if merge not in merges:
                merges.append(merge)
                vocabulary.append(pieces[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}), encoding="utf-8")
    (path / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    made = CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt"), model_max_length=77)
    made.save_pretrained(path)
    return made


def controlnet(path: Path, *, seed: int = 1, width: int = WIDTH, scale: float = 0.1) -> Path:
    """A ControlNet for :func:`folder`'s UNet whose last layers aren't zero, so that it does something."""
    torch.manual_seed(seed)
    config = {k: v for k, v in unet_config(width).items() if k not in ("out_channels", "up_block_types", "sample_size")}
    model = ControlNetModel(**config, conditioning_embedding_out_channels=(8, 8, 16, 16))
    with torch.no_grad():
        for block in (*model.controlnet_down_blocks, model.controlnet_mid_block):
            block.weight.normal_(0, scale)
        model.controlnet_cond_embedding.conv_out.weight.normal_(0, scale)
    model.save_pretrained(path)
    return path


def lora_layers(parts: Parts, *, rank: int = 4, seed: int = 2, scale: float = 0.05) -> dict[str, lora.LoraLayer]:
    """Random LoRA layers for every attention projection of a model's UNet, and for its whole text encoder."""
    random = torch.Generator().manual_seed(seed)
    layers = {}
    for name, module in lora.modules(parts).items():
        if not name.endswith(_LORA_TARGETS):
            continue
        outputs, inputs = module.weight.shape
        layers[name] = lora.LoraLayer(
            torch.randn((rank, inputs), generator=random) * scale,
            torch.randn((outputs, rank), generator=random) * scale,
            rank / 2,
        )
    return layers


def lora_of_width(width: int, *, rank: int = 4) -> dict[str, lora.LoraLayer]:
    """A LoRA of one module that attends to texts of ``width``, which tells its family."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    return {name: lora.LoraLayer(torch.randn(rank, width), torch.randn(CHANNELS[-1], rank), rank)}
