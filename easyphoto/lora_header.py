"""Tells for which family a LoRA was made from the shapes in its header, however its tensors are named.

kohya's scripts, diffusers, PEFT, ComfyUI and LyCORIS name the same modules differently. But none of them can make a
matrix for keys of one width fit a model of another. Metadata is believed where no shape contradicts it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from easyphoto import families
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message
from easyphoto.storage.headers import SafetensorsHeader, TensorShape

_OTHER_WIDTHS = {1280: Message("the SDXL refiner"), 4096: Message("a model with a T5 text encoder")}

MARKS = ("lora_down", "lora_A", "lora.down", "lora_linear_layer.down", "_lora.down", "lokr_", "hada_", "oft_", "glora")
"""Parts of tensor names that no file but that of a LoRA has."""
DOWN = re.compile(
    r"(?:[._]lora_down|[._]lora_A(?:\.(?!weight)[^.]+)?|[._]lora\.down|_lora\.down|\.lora_linear_layer\.down)(?:\.weight)?$"
)
"""The end of the name of the matrix through which a LoRA's input goes first, of shape (rank, inputs)."""
_CONTEXT = re.compile(r"attn2[._](?:processor[._])?to_[kv](?=[._])")
_UNET = re.compile(r"(?:^|[._])(?:down_blocks|input_blocks|mid_block|middle_block|up_blocks|output_blocks)[._]")
_ENCODER = re.compile(r"(?:^|[._])(?:self_attn[._](?:to_)?(?:[qkv]|out)(?:_proj)?|mlp[._](?:fc1|c_fc))(?=[._])")
_OURS = re.compile(
    rf"{_UNET.pattern}|(?:^|[._])(?:text_model|text_encoders?|text_encoder_2|clip_[lg]|lora_te[12]?|conv_in|conv_out)[._]"
    r"|^(?:lora_)?unet[._]|time_embed|add_embedding|label_emb|self_attn"
)
"""Parts of the names that modules of UNets and their text encoders have, and no others."""
_SECOND_ENCODER = re.compile(r"^(?:lora_te[12]_|(?:base_model\.model\.)?text_encoder_2\.|(?:text_encoders\.)?clip_g\.)")
_FOREIGN = re.compile(r"(?:double_blocks|single_blocks|joint_blocks|single_transformer_blocks|^transformer[._])")
"""Parts of the names in LoRAs for Flux, SD3 and other models that are transformers and no UNets."""
_SDXL_ONLY = re.compile(r"(?:transformer_blocks[._][1-9]\d*[._]|label_emb[._]|add_embedding[._])")


def family(name: str, header: SafetensorsHeader) -> Family:
    """Return the family of the LoRA ``name``. Raises :class:`InvalidRequest` with one sentence when it belongs to no
    known family, or when nothing tells to which one."""
    widths = set(_widths(header.shapes, _CONTEXT, also=_UNET))
    if len(widths) > 1:
        raise InvalidRequest("{name} has weights for more than one kind of model, so it fits none.", name=name)
    if widths:
        return family_of_width(widths.pop(), name)
    possible = _possible(name, header.shapes)
    foreign = any(map(_FOREIGN.search, header.shapes)) or not any(map(_OURS.search, header.shapes))
    for declared in _declarations(header.metadata):
        found = _declared(declared)
        if found is None:
            raise InvalidRequest(
                "The LoRA {name} was trained for {declared}, which isn't supported.", name=name, declared=declared
            )
        if found in possible and not foreign:
            return found
    if foreign:
        raise InvalidRequest("{name} is a LoRA for another kind of model than Stable Diffusion 1, 2 and XL.", name=name)
    if len(possible) == 1:
        return next(iter(possible))
    first = [f for f in families.known() if f.family in possible and not f.header.second_encoder]
    if len(first) == 1:  # of two families with an encoder like it, the one that has no other
        return first[0].family
    raise InvalidRequest("{name} doesn't say for which base model it was made.", name=name)


def family_of_width(width: int, name: str) -> Family:
    """Return the family of UNets that attend to a text of ``width``. Raises :class:`InvalidRequest` when none of ours
    does."""
    found = families.of_width(width)
    if found is not None:
        return found
    if width in _OTHER_WIDTHS:
        raise InvalidRequest(
            "{name} is {other_widths}, which isn't supported.", name=name, other_widths=_OTHER_WIDTHS[width]
        )
    raise InvalidRequest(
        "{name} attends to a text of width {width}, which is that of no model that EasyPhoto knows.",
        name=name,
        width=width,
    )


def inputs(name: str, shapes: Mapping[str, TensorShape]) -> int | None:
    """Return how many inputs the module has to whose LoRA the tensor ``name`` belongs; None where this tensor doesn't
    tell."""
    shape = shapes[name]
    if DOWN.search(name) or name.endswith((".hada_w1_b", ".hada_w2_b", ".diff")):
        return shape[1]
    if name.endswith((".lokr_w1", ".lokr_w1_b")):
        stem = name[: name.rindex(".lokr_w1")]
        other = next((shapes[n] for n in (f"{stem}.lokr_w2", f"{stem}.lokr_w2_b") if n in shapes), None)
        return None if other is None else shape[1] * math.prod(other[1:])
    return None


def rank(header: SafetensorsHeader) -> int | None:
    """Return the rank of the first plain LoRA in the file, None where there is none."""
    return next((shape[0] for name, shape in header.shapes.items() if DOWN.search(name)), None)


def _widths(shapes: Mapping[str, TensorShape], pattern: re.Pattern[str], *, also: re.Pattern[str]) -> Iterator[int]:
    for name in shapes:
        if pattern.search(name) and also.search(name):
            width = inputs(name, shapes)
            if width is not None:
                yield width


def _possible(name: str, shapes: Mapping[str, TensorShape]) -> frozenset[Family]:
    """Return the families that the shapes of a LoRA without cross attention leave possible."""
    possible = frozenset(found.family for found in families.known())
    for width in set(_widths(shapes, _ENCODER, also=re.compile(""))):
        like = frozenset(found.family for found in families.known() if width in found.header.encoders)
        if not like:
            raise InvalidRequest(
                "{name} was made for a text encoder of width {width}, which is none of a known model.",
                name=name,
                width=width,
            )
        possible &= like
    if any(_SECOND_ENCODER.search(key) or (_SDXL_ONLY.search(key) and _UNET.search(key)) for key in shapes):
        possible &= {found.family for found in families.known() if found.header.second_encoder}
    if not possible:
        raise InvalidRequest("{name} has weights for more than one kind of model, so it fits none.", name=name)
    return possible


def _declarations(metadata: Mapping[str, str]) -> Iterable[str]:
    return [metadata[key] for key in ("ss_base_model_version", "modelspec.architecture") if metadata.get(key)]


def _declared(version: str) -> Family | None:
    lower = version.lower()
    return next((found.family for found in families.known() if lower.startswith(found.header.declared)), None)
