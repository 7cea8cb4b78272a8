"""Names of modules in LoRA files: kohya's, and those of diffusers and PEFT where others wrote the file."""

from __future__ import annotations

import re

from easyphoto.config import Family

_ROLES = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".alpha": "alpha",
}
_PREFIXES = (("unet.", "lora_unet_"), ("text_encoder_2.", "lora_te2_"), ("text_encoder.", "lora_te_"))
_BLOCK = re.compile(r"^lora_unet_(down|up)_blocks_(\d+)_(attentions|resnets|downsamplers|upsamplers)_(\d+)_(.*)$")
_MID = re.compile(r"^lora_unet_mid_block_(attentions|resnets)_(\d+)_(.*)$")
_RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}


def kohya(prefix: str, path: str, family: Family) -> str:
    """The kohya name of the module ``path`` (with dots) of the model that ``prefix`` stands for, e.g. ``lora_unet``."""
    name = f"{prefix}_{path.replace('.', '_')}"
    return original_blocks(name) if family is Family.SDXL else name


def split(key: str) -> tuple[str, str]:
    """A tensor's name in a file -> (kohya name of its module, ``down``, ``up``, ``alpha`` or ``?``)."""
    for ending, role in _ROLES.items():
        if key.endswith(ending):
            return _module(key[: -len(ending)]), role
    return key, "?"


def original_blocks(name: str) -> str:
    """An SDXL UNet module by the original implementation's block names; other names as they are.

    Down block i, layer j is input block 1 + 3i + j, up block i, layer j is output block 3i + j (two and three layers to
    a block, the sampler last); in both a residual net is child 0 and the attention child 1.
    """
    if found := _MID.match(name):
        kind, index, rest = found.groups()
        child = 1 if kind == "attentions" else 2 * int(index)
        return f"lora_unet_middle_block_{child}_{_inside(kind, rest)}"
    found = _BLOCK.match(name)
    if not found:
        return _OUTSIDE.get(name, name)
    way, block, kind, layer, rest = found.groups()
    side, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
    if kind == "downsamplers":
        return f"lora_unet_input_blocks_{3 + 3 * int(block)}_0_op"
    if kind == "upsamplers":
        return f"lora_unet_output_blocks_{2 + 3 * int(block)}_2_conv"
    child = 1 if kind == "attentions" else 0
    return f"lora_unet_{side}_{first + 3 * int(block) + int(layer)}_{child}_{_inside(kind, rest)}"


_OUTSIDE = {
    "lora_unet_conv_in": "lora_unet_input_blocks_0_0",
    "lora_unet_conv_out": "lora_unet_out_2",
    "lora_unet_time_embedding_linear_1": "lora_unet_time_embed_0",
    "lora_unet_time_embedding_linear_2": "lora_unet_time_embed_2",
    "lora_unet_add_embedding_linear_1": "lora_unet_label_emb_0_0",
    "lora_unet_add_embedding_linear_2": "lora_unet_label_emb_0_2",
}


def _inside(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest) if kind == "resnets" else rest


def _module(name: str) -> str:
    """Diffusers' and PEFT's dotted module names as kohya's."""
    for dotted, prefix in _PREFIXES:
        if name.startswith(dotted):
            return prefix + name[len(dotted) :].replace("base_model.model.", "").replace(".", "_")
    return name
