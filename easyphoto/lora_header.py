"""For which family a LoRA was made, told by the shapes in its header, however its tensors are named.

kohya's scripts, diffusers, PEFT, ComfyUI and LyCORIS name the same modules differently; what they can't do is to make
a matrix for keys of one width fit a model of another. Metadata is believed where no shape speaks against it.
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
"""What no file but a LoRA has in its tensors' names."""
DOWN = re.compile(
    r"(?:[._]lora_down|[._]lora_A(?:\.(?!weight)[^.]+)?|[._]lora\.down|_lora\.down|\.lora_linear_layer\.down)(?:\.weight)?$"
)
"""The end of the name of the matrix that a LoRA's input goes through first: (rank, inputs)."""
_CONTEXT = re.compile(r"attn2[._](?:processor[._])?to_[kv](?=[._])")
_UNET = re.compile(r"(?:^|[._])(?:down_blocks|input_blocks|mid_block|middle_block|up_blocks|output_blocks)[._]")
_ENCODER = re.compile(r"(?:^|[._])(?:self_attn[._](?:to_)?(?:[qkv]|out)(?:_proj)?|mlp[._](?:fc1|c_fc))(?=[._])")
_OURS = re.compile(
    rf"{_UNET.pattern}|(?:^|[._])(?:text_model|text_encoders?|text_encoder_2|clip_[lg]|lora_te[12]?|conv_in|conv_out)[._]"
    r"|^(?:lora_)?unet[._]|time_embed|add_embedding|label_emb|self_attn"
)
"""In names of what UNets and their text encoders have, and nothing else."""
_SECOND_ENCODER = re.compile(r"^(?:lora_te[12]_|(?:base_model\.model\.)?text_encoder_2\.|(?:text_encoders\.)?clip_g\.)")
_FOREIGN = re.compile(r"(?:double_blocks|single_blocks|joint_blocks|single_transformer_blocks|^transformer[._])")
"""In names of LoRAs for Flux, SD3 and others that are transformers and no UNets."""
_SDXL_ONLY = re.compile(r"(?:transformer_blocks[._][1-9]\d*[._]|label_emb[._]|add_embedding[._])")


def family(name: str, header: SafetensorsHeader) -> Family:
    """The family of the LoRA ``name``. :class:`InvalidRequest`, in one sentence, when it is of no family that is known
    or nothing tells."""
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
    """The family of UNets that attend to a text of ``width``; :class:`InvalidRequest` when that is none of ours."""
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
    """How many inputs the module has whose LoRA the tensor ``name`` belongs to; None where this tensor doesn't tell."""
    shape = shapes[name]
    if DOWN.search(name) or name.endswith((".hada_w1_b", ".hada_w2_b", ".diff")):
        return shape[1]
    if name.endswith((".lokr_w1", ".lokr_w1_b")):
        stem = name[: name.rindex(".lokr_w1")]
        other = next((shapes[n] for n in (f"{stem}.lokr_w2", f"{stem}.lokr_w2_b") if n in shapes), None)
        return None if other is None else shape[1] * math.prod(other[1:])
    return None


def rank(header: SafetensorsHeader) -> int | None:
    """The rank of the first plain LoRA in the file."""
    return next((shape[0] for name, shape in header.shapes.items() if DOWN.search(name)), None)


def _widths(shapes: Mapping[str, TensorShape], pattern: re.Pattern[str], *, also: re.Pattern[str]) -> Iterator[int]:
    for name in shapes:
        if pattern.search(name) and also.search(name):
            width = inputs(name, shapes)
            if width is not None:
                yield width


def _possible(name: str, shapes: Mapping[str, TensorShape]) -> frozenset[Family]:
    """The families that the shapes of a LoRA without cross attention leave open."""
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
