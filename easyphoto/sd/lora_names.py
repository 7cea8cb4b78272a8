"""The names of modules in LoRA files: kohya's, which this project uses, and those of other programs.

kohya's scripts name a module by its path, with underscores, behind ``lora_unet_`` or ``lora_te_``. Diffusers writes the
path with dots behind ``unet.`` or ``text_encoder.``, PEFT behind ``base_model.model.``, and ComfyUI behind
``diffusion_model.``. The blocks of a UNet have the names of diffusers (``down_blocks_1_attentions_0``) or those of the
original implementation (``input_blocks_4_1``). :meth:`Plain.canonical <easyphoto.sd.strategies.Plain.canonical>` turns
all of them into one: the original's for SDXL, and diffusers' for the others, as kohya's scripts do.
"""

from __future__ import annotations

import re

_DOWN = r"[._]lora_down|\.lora_A(?:\.[^.]+)?|\.lora\.down|_lora\.down|\.lora_linear_layer\.down"
_UP = _DOWN.replace("down", "up").replace("lora_A", "lora_B")
_ROLES = (
    ("down", re.compile(rf"(?:{_DOWN})\.weight$")),
    ("up", re.compile(rf"(?:{_UP})\.weight$")),
    ("alpha", re.compile(r"\.alpha$")),
    ("magnitude", re.compile(r"\.(?:dora_scale|lora_magnitude_vector(?:\.(?!weight$)[^.]+)?(?:\.weight)?)$")),
)
_WRAPPERS = re.compile(r"(?:base_model\.model\.)+|^model\.(?=diffusion_model\.)")
_PREFIXES = (
    ("diffusion_model.", "lora_unet_"),
    ("unet.", "lora_unet_"),
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder.", "lora_te_"),
    ("text_encoders.clip_g.transformer.", "lora_te2_"),
    ("text_encoders.clip_l.transformer.", "lora_te_"),
    ("clip_g.transformer.", "lora_te2_"),
    ("clip_l.transformer.", "lora_te_"),
    ("text_model.", "lora_te_text_model_"),
    ("down_blocks.", "lora_unet_down_blocks_"),
    ("mid_block.", "lora_unet_mid_block_"),
    ("up_blocks.", "lora_unet_up_blocks_"),
)
_BLOCK = re.compile(r"^lora_unet_(down|up)_blocks_(\d+)_(attentions|resnets|downsamplers|upsamplers)_(\d+)_(.*)$")
_MID = re.compile(r"^lora_unet_mid_block_(attentions|resnets)_(\d+)_(.*)$")
_ORIGINAL = re.compile(r"^lora_unet_(input|output)_blocks_(\d+)_(\d+)_?(.*)$")
_ORIGINAL_MID = re.compile(r"^lora_unet_middle_block_(\d)_(.*)$")
_LAYERS = 3
"""How many blocks of the original numbering make one of diffusers': two layers and a sampler, or three layers."""
_RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "lora_unet_conv_in": "lora_unet_input_blocks_0_0",
    "lora_unet_conv_out": "lora_unet_out_2",
    "lora_unet_time_embedding_linear_1": "lora_unet_time_embed_0",
    "lora_unet_time_embedding_linear_2": "lora_unet_time_embed_2",
    "lora_unet_add_embedding_linear_1": "lora_unet_label_emb_0_0",
    "lora_unet_add_embedding_linear_2": "lora_unet_label_emb_0_2",
}
_RESNET_BACK = {original: ours for ours, original in _RESNET.items()}
_OUTSIDE_BACK = {original: ours for ours, original in _OUTSIDE.items()}
_OTHER_KINDS = (("hada_", "a LyCORIS LoHa"), ("lokr_", "a LyCORIS LoKr"), ("oft_", "an OFT"), ("glora", "a GLoRA"))


def split(key: str) -> tuple[str, str]:
    """Split the name of a tensor in a file into the name of its module, with underscores, and ``down``, ``up``,
    ``alpha``, ``magnitude`` or ``?``."""
    for role, pattern in _ROLES:
        if found := pattern.search(key):
            return _module(key[: found.start()]), role
    return key, "?"


def kind(key: str) -> str:
    """Return what a file with a tensor of this name is, if it is no plain LoRA."""
    return next((words for mark, words in _OTHER_KINDS if mark in key), "not a plain LoRA")


def original_blocks(name: str) -> str:
    """Return the name of a UNet module by the block names of the original implementation; other names stay as they are.

    Layer j of down block i is input block 1 + 3i + j, and layer j of up block i is output block 3i + j (a block has two
    or three layers, and the sampler comes last). In both, a residual net is child 0 and the attention is child 1.
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


def diffusers_blocks(name: str) -> str:
    """Return the name of a UNet module by diffusers' block names, given the original's; other names stay as they
    are."""
    if name in _OUTSIDE_BACK:
        return _OUTSIDE_BACK[name]
    if found := _ORIGINAL_MID.match(name):
        child, rest = int(found.group(1)), found.group(2)
        if child == 1:
            return f"lora_unet_mid_block_attentions_0_{rest}"
        return f"lora_unet_mid_block_resnets_{child // 2}_{_RESNET_BACK.get(rest, rest)}"
    found = _ORIGINAL.match(name)
    if not found:
        return name
    number, child, rest = int(found.group(2)), int(found.group(3)), found.group(4)
    way = "down" if found.group(1) == "input" else "up"
    block, layer = divmod(number - 1 if way == "down" else number, _LAYERS)
    if rest == "op":
        return f"lora_unet_down_blocks_{block}_downsamplers_0_conv"
    if way == "up" and rest == "conv":
        return f"lora_unet_up_blocks_{block}_upsamplers_0_conv"
    kind = "attentions" if child else "resnets"
    inside = rest if child else _RESNET_BACK.get(rest, rest)
    return f"lora_unet_{way}_blocks_{block}_{kind}_{layer}_{inside}"


def _inside(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest) if kind == "resnets" else rest


def _module(name: str) -> str:
    """Turn a dotted module name into kohya's."""
    name = _WRAPPERS.sub("", name)
    for dotted, prefix in _PREFIXES:
        if name.startswith(dotted):
            path = _of_old(name[len(dotted) :])
            return prefix + path.replace(".", "_")
    return name


def _of_old(path: str) -> str:
    """Turn the names that diffusers gave in 2023, when a LoRA was an attention processor, into today's."""
    path = path.replace(".processor.", ".")
    if ".self_attn." in path:
        return re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", path)
    return re.sub(r"\.to_out$", ".to_out.0", path)
