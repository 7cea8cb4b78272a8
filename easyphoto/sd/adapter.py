"""Adapters that tell a UNet from pictures whom it draws: IP-Adapter (Ye et al., "IP-Adapter: Text compatible image
prompt adapter for text-to-image diffusion models", 2023) in the layouts in which its files are published.

diffusers makes the modules of a file. An adapter is worn for one picture and taken off again, so that the UNet is the
same as before for whoever has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional

from easyphoto import naming
from easyphoto.errors import InvalidRequest
from easyphoto.families.spec import ControlModel
from easyphoto.ports import IdentityKind, Image
from easyphoto.sd import single_file
from easyphoto.sd.lora import Applied, Layers, LoraLayer
from easyphoto.storage import headers

NET, ATTENTION = "image_proj", "ip_adapter"
"""The two parts of a file: the net that makes tokens, and the further keys and values of the cross-attentions."""


class Wants(str, Enum):
    """What of a picture an adapter takes."""

    PICTURE = "picture"
    """The vector that CLIP's image encoder gives for the whole picture."""
    PATCHES = "patches"
    """The last hidden layer but one of CLIP's image encoder."""
    FACE = "face"
    """The embedding of the face."""
    FACE_AND_PATCHES = "face and patches"
    """The embedding of the face, and beside it the last hidden layer but one of CLIP's image encoder."""

    @property
    def of_face(self) -> bool:
        """Whether it takes the embedding of the face."""
        return self in (Wants.FACE, Wants.FACE_AND_PATCHES)


_LAYOUTS: Mapping[str, Wants] = MappingProxyType(
    {
        "proj.weight": Wants.PICTURE,
        "proj.3.weight": Wants.PATCHES,
        "latents": Wants.PATCHES,
        "perceiver_resampler.proj_in.weight": Wants.FACE_AND_PATCHES,
        "norm.weight": Wants.FACE,
    }
)
"""By a tensor that only one layout has, or none of those before it: what it wants. (IP-Adapter, its full-face, its
plus, FaceID-plus, and FaceID.)"""
_ENTRANCES = ("proj.weight", "proj_in.weight", "proj.0.weight")
"""The tensors whose last axis is as wide as what the adapter takes."""
_PATCH_ENTRANCE = "perceiver_resampler.proj_in.weight"
_LORA = re.compile(r"(\d+\.to_[qkv]|\d+\.to_out)_lora\.(down|up)\.weight")
"""The tensors of a LoRA that stands beside the further keys and values, by the number of its attention."""
FACE_ID_EMBEDDER, INSTANTID_EMBEDDER = "buffalo_l", "antelopev2"
"""The embedders whose vectors the published FaceIDs and InstantID were taught."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """The weights of one file, float32. ``width`` is the number of features that it takes; where it takes the patches
    of a picture beside a face, ``patch_width`` is the number of theirs. ``embedder`` is the name of the embedder whose
    vectors it was taught, where it takes the embedding of a face. ``lora`` is the LoRA that belongs to it, by the
    number of the attention and the layer in it (``3.to_q``). ``shortcut``: what is made of the face is added to what
    comes out of the net (version 2 of FaceID-plus, whose files only their names tell from those of version 1)."""

    name: str
    wants: Wants
    width: int
    net: Mapping[str, torch.Tensor]
    attention: Mapping[str, torch.Tensor]
    embedder: str = ""
    patch_width: int = 0
    lora: Layers = field(default_factory=dict)
    shortcut: bool = False

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the weights as diffusers takes them."""
        return {NET: dict(self.net), ATTENTION: dict(self.attention)}


@dataclass(frozen=True, eq=False)
class Placing:
    """Where a face is to be, for an adapter that has a ControlNet of its own (``net`` is what that is given under),
    which attends to the adapter's tokens: the drawing ``picture`` of the face, and how much it counts."""

    net: IdentityKind
    picture: Image
    weight: float


@dataclass(frozen=True, eq=False)
class Cue:
    """What one adapter is told of a person, and how much it counts (``weight``, 1 is the adapter's full one).

    ``shown`` is (1, pictures, features) or (1, pictures, patches, features); ``blank`` has the same shape and stands
    for nobody in the negative half of the guidance. :func:`beside` makes both of a face and of patches.
    """

    adapter: Adapter
    shown: torch.Tensor
    blank: torch.Tensor
    weight: float
    placing: Placing | None = None

    def sides(self, guided: bool) -> torch.Tensor:
        """Return what the UNet is told: for the negative and the positive half, or for the positive one alone."""
        return torch.cat([self.blank, self.shown]) if guided else self.shown


def beside(face: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Return the vector of a face (1, 1, features) and the patches (1, pictures, patches, features) of pictures as one
    tensor (1, pictures, 1 + patches, features): the face comes first for each picture, and zeros fill up the narrower
    of the two."""
    width, pictures = max(face.shape[-1], patches.shape[-1]), patches.shape[1]
    rows = face[:, :, None].expand(-1, pictures, -1, -1)
    filled = [functional.pad(part, (0, width - part.shape[-1])) for part in (rows.to(patches), patches)]
    return torch.cat(filled, 2)


class _BesideFace(torch.nn.Module):
    """FaceID-plus's net, told a face and patches as :func:`beside` puts them together."""

    def __init__(self, net: Any, adapter: Adapter) -> None:
        super().__init__()
        self.net, self._face, self._patch = net, adapter.width, adapter.patch_width
        net.shortcut = adapter.shortcut

    def forward(self, told: torch.Tensor) -> torch.Tensor:
        self.net.clip_embeds = told[None, :, 1:, : self._patch]
        tokens: torch.Tensor = self.net(told[:, 0, : self._face])
        return tokens


def read(path: Path) -> Adapter:
    """Return the adapter of a file. Raises :class:`InvalidRequest` for a file that holds none, or one of a layout that
    isn't known here."""
    state = single_file.read(path)
    net = {k.removeprefix(f"{NET}."): v.float() for k, v in state.items() if k.startswith(f"{NET}.")}
    own = {k.removeprefix(f"{ATTENTION}."): v for k, v in state.items() if k.startswith(f"{ATTENTION}.")}
    attention = {name: tensor.float() for name, tensor in own.items() if not _LORA.fullmatch(name)}
    wants = next((wants for name, wants in _LAYOUTS.items() if name in net), None)
    entrance = next((net[name].shape[-1] for name in _ENTRANCES if name in net), 0)
    if wants is None or not entrance or not attention or any("_lora." in name for name in attention):
        raise InvalidRequest("{path} is not an adapter of a kind that is known here.", path=path.name)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*net.values(), *own.values())):
        raise _damaged(path.name)
    pickled = path.suffix.lower() in naming.PICKLED
    said = "" if pickled else headers.read_header(path).metadata.get("embedder", "")
    plain = ControlModel.plain(path.name)
    return Adapter(
        name=path.name,
        wants=wants,
        width=entrance,
        net=net,
        attention=attention,
        embedder=said or (FACE_ID_EMBEDDER if wants.of_face else ""),
        patch_width=net[_PATCH_ENTRANCE].shape[-1] if wants is Wants.FACE_AND_PATCHES else 0,
        lora=_lora(path.name, own),
        shortcut="plusv2" in plain or "plus_v2" in plain,
    )


def _damaged(name: str) -> InvalidRequest:
    return InvalidRequest("The adapter {adapter} is damaged, or of a layout that isn't known.", adapter=name)


def _lora(name: str, own: Mapping[str, torch.Tensor]) -> dict[str, LoraLayer]:
    """The LoRA that stands beside the further keys and values. Its halves have no alpha: they count in full."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in own.items():
        if found := _LORA.fullmatch(key):
            halves.setdefault(found[1], {})[found[2]] = tensor
    layers = {}
    for place, both in halves.items():
        down, up = both.get("down"), both.get("up")
        if down is None or up is None or down.dim() != 2 or up.dim() != 2 or up.shape[1] != down.shape[0]:
            raise _damaged(name)
        layers[place] = LoraLayer(down, up, float(down.shape[0]))
    return layers


def require_fit(adapter: Adapter, unet: Any) -> None:
    """Raise :class:`InvalidRequest` where the adapter was made for a UNet of other sizes."""
    wanted = {}
    for place, name in enumerate(_crossing(unet)):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        wanted[f"{2 * place + 1}.to_k_ip.weight"] = attention.to_k.weight.shape
        wanted[f"{2 * place + 1}.to_v_ip.weight"] = attention.to_v.weight.shape
    has = {name: tensor.shape for name, tensor in adapter.attention.items()}
    layers = _projections(unet)
    fits = all(
        place in layers and (layer.up.shape[0], layer.down.shape[1]) == tuple(layers[place].weight.shape)
        for place, layer in adapter.lora.items()
    )
    if has != wanted or not fits:
        raise InvalidRequest("The adapter {adapter} was made for another family of models.", adapter=adapter.name)


def _projections(unet: Any) -> dict[str, Any]:
    """Return the layers that a LoRA of an adapter may change, by the number of their attention and their names in it.
    Adapters number all attentions of a UNet. A layer that PEFT has wrapped is the wrapped one."""
    found: dict[str, Any] = {}
    for place, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        layers = {"to_q": attention.to_q, "to_k": attention.to_k, "to_v": attention.to_v, "to_out": attention.to_out[0]}
        found |= {f"{place}.{layer}": getattr(module, "base_layer", module) for layer, module in layers.items()}
    return found


@contextmanager
def worn(unet: Any, cues: Sequence[Cue]) -> Iterator[None]:
    """A context in which ``unet`` wears the adapters of ``cues`` and takes what they are told as ``image_embeds``.

    A LoRA that belongs to an adapter counts in full, whatever the adapter's weight, as its authors have it. Raises
    :class:`InvalidRequest` where an adapter doesn't fit. Afterwards the UNet is as it was.
    """
    if not cues:
        yield
        return
    for cue in cues:
        require_fit(cue.adapter, unet)
    plain = dict(unet.attn_processors)
    before = unet.encoder_hid_proj, unet.config.encoder_hid_dim_type
    merged = Applied(_projections(unet), [(cue.adapter.lora, 1.0) for cue in cues if cue.adapter.lora])
    try:
        _fit_out(unet, cues)
        yield
    finally:
        merged.remove()
        unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = before
        unet.set_attn_processor(plain)


def _fit_out(unet: Any, cues: Sequence[Cue]) -> None:
    try:
        unet._load_ip_adapter_weights([cue.adapter.state() for cue in cues], low_cpu_mem_usage=False)
    except (RuntimeError, KeyError, IndexError, AttributeError) as error:
        raise _damaged(", ".join(cue.adapter.name for cue in cues)) from error
    nets = unet.encoder_hid_proj.image_projection_layers
    for index, cue in enumerate(cues):
        if cue.adapter.wants is Wants.FACE_AND_PATCHES:
            nets[index] = _BesideFace(nets[index], cue.adapter)
    for name in _crossing(unet):
        unet.attn_processors[name].scale = [cue.weight for cue in cues]


def _crossing(unet: Any) -> list[str]:
    """Return the names of the processors of the cross-attentions, in the order in which adapters number them."""
    return [name for name in unet.attn_processors if name.endswith("attn2.processor")]
