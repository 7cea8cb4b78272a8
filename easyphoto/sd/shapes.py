"""Architectures read from the shapes of a checkpoint's tensors, as the keyword arguments of diffusers' models.

Published Stable Diffusion models are one design in several sizes. What shapes can't tell, the number of attention
heads, follows from another thing that they do: models that project into their transformers by a linear layer (SD2,
SDXL) have heads of 64 channels, the others (SD1) have 8 heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from easyphoto.storage.headers import TensorShape

Shapes = Mapping[str, TensorShape]

HEADS, HEAD_CHANNELS = 8, 64
_TIME_CHANNELS = 256
OPEN_CLIP_HEADS: Mapping[int, int] = MappingProxyType({1280: 16, 1408: 16, 1664: 16})
"""Width of an image encoder of OpenCLIP (ViT-H, ViT-g, ViT-bigG) -> its number of heads."""


def unet(shapes: Shapes) -> dict[str, Any]:
    """Return ``UNet2DConditionModel``'s arguments for a UNet in the original naming, without prefix."""
    config = _encoder(shapes)
    attends = config["down_block_types"]
    config["up_block_types"] = tuple(
        "CrossAttnUpBlock2D" if kind == "CrossAttnDownBlock2D" else "UpBlock2D" for kind in reversed(attends)
    )
    config["out_channels"] = shapes["out.2.weight"][0]
    config["sample_size"] = 128 if "addition_embed_type" in config else 64
    return config


def controlnet(shapes: Shapes) -> dict[str, Any]:
    """Return ``ControlNetModel``'s arguments for a ControlNet in the original naming or in diffusers'."""
    if "controlnet_cond_embedding.conv_in.weight" in shapes:
        config = _diffusers_encoder(shapes)
        blocks = count_of(shapes, r"controlnet_cond_embedding\.blocks\.(\d+)\.")
        hints = ["conv_in", *(f"blocks.{i}" for i in range(1, blocks, 2))]
        widths = [shapes[f"controlnet_cond_embedding.{name}.weight"][0] for name in hints]
    else:
        config = _encoder(shapes)
        last = max(numbers(shapes, r"input_hint_block\.(\d+)\.weight"))
        widths = [shapes[f"input_hint_block.{i}.weight"][0] for i in range(0, last, 4)]
    config["conditioning_embedding_out_channels"] = tuple(widths)
    return config


def vae(shapes: Shapes) -> dict[str, Any]:
    """Return ``AutoencoderKL``'s arguments for a VAE in the original naming or in diffusers'."""
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in shapes:
        block, inside = "encoder.down_blocks.{}.resnets.{}.conv1.weight", r"encoder\.down_blocks\.0\.resnets\.(\d+)\."
        count = count_of(shapes, r"encoder\.down_blocks\.(\d+)\.")
    else:
        block, inside = "encoder.down.{}.block.{}.conv1.weight", r"encoder\.down\.0\.block\.(\d+)\."
        count = count_of(shapes, r"encoder\.down\.(\d+)\.")
    return {
        "block_out_channels": tuple(shapes[block.format(i, 0)][0] for i in range(count)),
        "layers_per_block": count_of(shapes, inside),
        "down_block_types": ("DownEncoderBlock2D",) * count,
        "up_block_types": ("UpDecoderBlock2D",) * count,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "sample_size": 512,
    }


def clip(shapes: Shapes) -> dict[str, Any]:
    """Return ``CLIPTextConfig``'s arguments for a text encoder in the naming of transformers."""
    tokens, width = shapes["text_model.embeddings.token_embedding.weight"]
    projection = shapes.get("text_projection.weight", (width, width))[0]
    return {
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_of(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(1, width // HEAD_CHANNELS),
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
        "projection_dim": projection,
        "bos_token_id": tokens - 2,
        "eos_token_id": tokens - 1,
        "pad_token_id": tokens - 1,
    }


def clip_vision(shapes: Shapes) -> dict[str, Any]:
    """Return ``CLIPVisionConfig``'s arguments for an image encoder with a projection in the naming of transformers, for
    square pictures. The widths of OpenCLIP's encoders have heads and an activation of their own; others are
    OpenAI's."""
    width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    patches = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
    heads = OPEN_CLIP_HEADS.get(width)
    return {
        "hidden_size": width,
        "intermediate_size": shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_of(shapes, r"vision_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": heads or max(1, width // HEAD_CHANNELS),
        "hidden_act": "quick_gelu" if heads is None else "gelu",
        "image_size": math.isqrt(patches) * patch,
        "patch_size": patch,
        "projection_dim": shapes["visual_projection.weight"][0],
    }


# --- the half that UNets and ControlNets share -----------------------------------------------------------------------


def _encoder(shapes: Shapes) -> dict[str, Any]:
    """Return the arguments of the half that UNets and ControlNets share, from the original naming. There a block is a
    few layers and a sampler, all numbered through, so that the first sampler tells how many layers there are."""
    layers = min(numbers(shapes, r"input_blocks\.(\d+)\.0\.op\.weight")) - 1
    count = count_of(shapes, r"input_blocks\.(\d+)\.") // (layers + 1)
    first = [1 + block * (layers + 1) for block in range(count)]
    return _config(
        shapes,
        layers,
        channels=[shapes[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in first],
        depths=[_depth(shapes, f"input_blocks.{i}.1") for i in first],
        middle=_depth(shapes, "middle_block.1"),
        inputs=shapes["input_blocks.0.0.weight"][1],
        added=shapes.get("label_emb.0.0.weight"),
    )


def _diffusers_encoder(shapes: Shapes) -> dict[str, Any]:
    count = count_of(shapes, r"down_blocks\.(\d+)\.")
    return _config(
        shapes,
        count_of(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        channels=[shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(count)],
        depths=[_depth(shapes, f"down_blocks.{i}.attentions.0") for i in range(count)],
        middle=_depth(shapes, "mid_block.attentions.0"),
        inputs=shapes["conv_in.weight"][1],
        added=shapes.get("add_embedding.linear_1.weight"),
    )


def _config(
    shapes: Shapes,
    layers: int,
    *,
    channels: list[int],
    depths: list[int],
    middle: int,
    inputs: int,
    added: TensorShape | None,
) -> dict[str, Any]:
    context = next((s[1] for name, s in shapes.items() if name.endswith("attn2.to_k.weight")), None)
    projection = next((s for name, s in shapes.items() if name.endswith("proj_in.weight")), ())
    linear = len(projection) == 2
    config: dict[str, Any] = {
        "in_channels": inputs,
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths),
        # The middle takes the last block's depth, also where that block itself has no transformer.
        "transformer_layers_per_block": (*(max(d, 1) for d in depths[:-1]), max(depths[-1] or middle, 1)),
        "attention_head_dim": tuple(max(1, c // HEAD_CHANNELS) for c in channels) if linear else HEADS,
        "use_linear_projection": linear,
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
    }
    if context is not None:
        config["cross_attention_dim"] = context
    if added is not None:
        config.update(
            addition_embed_type="text_time",
            addition_time_embed_dim=_TIME_CHANNELS,
            projection_class_embeddings_input_dim=added[1],
        )
    return config


def _depth(shapes: Shapes, attention: str) -> int:
    return count_of(shapes, re.escape(attention) + r"\.transformer_blocks\.(\d+)\.")


def numbers(names: Iterable[str], pattern: str) -> set[int]:
    """Return the numbers that the pattern's group has among the names."""
    match: Callable[[str], re.Match[str] | None] = re.compile(pattern).match
    return {int(found.group(1)) for found in map(match, names) if found}


def count_of(names: Iterable[str], pattern: str) -> int:
    return len(numbers(names, pattern))
