"""Adapters that tell a UNet from pictures whom it draws: IP-Adapter (Ye et al., "IP-Adapter: Text compatible image
prompt adapter for text-to-image diffusion models", 2023) in the layouts in which its files are published.

diffusers makes the modules of a file. An adapter is worn for one picture and taken off again, so that the UNet is the
same as before for whoever has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from easyphoto import naming
from easyphoto.errors import InvalidRequest
from easyphoto.sd import single_file
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


_LAYOUTS: Mapping[str, Wants] = MappingProxyType(
    {
        "proj.weight": Wants.PICTURE,
        "proj.3.weight": Wants.PATCHES,
        "latents": Wants.PATCHES,
        "norm.weight": Wants.FACE,
    }
)
"""By a tensor that only one layout has: what it wants. (IP-Adapter, its full-face, its plus, and FaceID.)"""
_ENTRANCES = ("proj.weight", "proj_in.weight", "proj.0.weight")
"""The tensors whose last axis is as wide as what the adapter takes."""
_RESAMPLED = "perceiver_resampler."


@dataclass(frozen=True, eq=False)
class Adapter:
    """The weights of one file, float32. ``width`` is the number of features that it takes. ``embedder`` is the name of
    the embedder whose vectors it was taught, where it takes the embedding of a face and its file says so."""

    name: str
    wants: Wants
    width: int
    net: Mapping[str, torch.Tensor]
    attention: Mapping[str, torch.Tensor]
    embedder: str = ""

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the weights as diffusers takes them."""
        return {NET: dict(self.net), ATTENTION: dict(self.attention)}


@dataclass(frozen=True, eq=False)
class Cue:
    """What one adapter is told of a person, and how much it counts (``weight``, 1 is the adapter's full one).

    ``shown`` is (1, pictures, features) or (1, pictures, patches, features); ``blank`` has the same shape and stands
    for nobody in the negative half of the guidance.
    """

    adapter: Adapter
    shown: torch.Tensor
    blank: torch.Tensor
    weight: float

    def sides(self, guided: bool) -> torch.Tensor:
        """Return what the UNet is told: for the negative and the positive half, or for the positive one alone."""
        return torch.cat([self.blank, self.shown]) if guided else self.shown


def read(path: Path) -> Adapter:
    """Return the adapter of a file. Raises :class:`InvalidRequest` for a file that holds none, or one of a layout that
    isn't known here."""
    if path.suffix.lower() in naming.PICKLED:
        raise InvalidRequest("{path} is not an adapter of a kind that is known here.", path=path.name)
    state = single_file.read(path)
    net = {k.removeprefix(f"{NET}."): v for k, v in state.items() if k.startswith(f"{NET}.")}
    attention = {k.removeprefix(f"{ATTENTION}."): v for k, v in state.items() if k.startswith(f"{ATTENTION}.")}
    found = [wants for name, wants in _LAYOUTS.items() if name in net]
    entrance = next((net[name].shape[-1] for name in _ENTRANCES if name in net), 0)
    odd = any(name.startswith(_RESAMPLED) for name in net) or any("_lora." in name for name in attention)
    if not found or not entrance or not attention or odd:
        raise InvalidRequest("{path} is not an adapter of a kind that is known here.", path=path.name)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*net.values(), *attention.values())):
        raise InvalidRequest("The adapter {adapter} is damaged, or of a layout that isn't known.", adapter=path.name)
    return Adapter(
        path.name,
        found[0],
        entrance,
        {name: tensor.float() for name, tensor in net.items()},
        {name: tensor.float() for name, tensor in attention.items()},
        headers.read_header(path).metadata.get("embedder", ""),
    )


def require_fit(adapter: Adapter, unet: Any) -> None:
    """Raise :class:`InvalidRequest` where the adapter was made for a UNet of other sizes."""
    wanted = {}
    for place, name in enumerate(_crossing(unet)):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        wanted[f"{2 * place + 1}.to_k_ip.weight"] = attention.to_k.weight.shape
        wanted[f"{2 * place + 1}.to_v_ip.weight"] = attention.to_v.weight.shape
    has = {name: tensor.shape for name, tensor in adapter.attention.items()}
    if has != wanted:
        raise InvalidRequest("The adapter {adapter} was made for another family of models.", adapter=adapter.name)


@contextmanager
def worn(unet: Any, cues: Sequence[Cue]) -> Iterator[None]:
    """A context in which ``unet`` wears the adapters of ``cues`` and takes what they are told as ``image_embeds``.

    Raises :class:`InvalidRequest` where an adapter doesn't fit. Afterwards the UNet is as it was.
    """
    if not cues:
        yield
        return
    for cue in cues:
        require_fit(cue.adapter, unet)
    plain = dict(unet.attn_processors)
    before = unet.encoder_hid_proj, unet.config.encoder_hid_dim_type
    try:
        _fit_out(unet, cues)
        yield
    finally:
        unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = before
        unet.set_attn_processor(plain)


def _fit_out(unet: Any, cues: Sequence[Cue]) -> None:
    try:
        unet._load_ip_adapter_weights([cue.adapter.state() for cue in cues], low_cpu_mem_usage=False)
    except (RuntimeError, KeyError, IndexError) as error:
        names = ", ".join(cue.adapter.name for cue in cues)
        raise InvalidRequest(
            "The adapter {adapter} is damaged, or of a layout that isn't known.", adapter=names
        ) from error
    for name in _crossing(unet):
        unet.attn_processors[name].scale = [cue.weight for cue in cues]


def _crossing(unet: Any) -> list[str]:
    """Return the names of the processors of the cross-attentions, in the order in which adapters number them."""
    return [name for name in unet.attn_processors if name.endswith("attn2.processor")]
