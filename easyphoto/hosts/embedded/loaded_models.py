"""The models that the embedded host holds. Each is loaded once and kept until its file changes or the memory is
needed."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from easyphoto import sd
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.embedded import adapters, library
from easyphoto.memory import RenderPlan
from easyphoto.messages import Message
from easyphoto.ports import Checkpoint, ControlRole, IdentityKind, Image
from easyphoto.sd import adapter, finite, lora, motion, tokenizers
from easyphoto.sd.placement import Placement
from easyphoto.sd.vae import set_tiles

log = logging.getLogger(__name__)
T = TypeVar("T")

_KEPT_CONTROLNETS = 5
_KEPT_LORAS = 8
_KEPT_ADAPTERS = 2
_KEPT_SIGHTS = 8


class LruCache:
    """Keeps at most ``limit`` values by their keys. When another one comes, the one that nobody has asked for the
    longest goes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._values:
            while len(self._values) >= self._limit:
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        value: T = self._values[key]
        return value

    def clear(self) -> None:
        self._values.clear()

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._values)


class Models:
    """One checkpoint, the ControlNets that were used with it, and the LoRAs that are merged into it.

    Everything is loaded into ordinary memory; :attr:`placement` brings it to the device.
    """

    def __init__(self, paths: Paths, device: torch.device, dtype: torch.dtype) -> None:
        self._paths = paths
        self.device = device
        self.dtype = dtype
        self.placement = Placement(device)
        self._checkpoint = LruCache(1)
        self._controlnets = LruCache(_KEPT_CONTROLNETS)
        self._moving = LruCache(1)
        self._loras = LruCache(_KEPT_LORAS)
        self._adapters = LruCache(_KEPT_ADAPTERS)
        self._encoder = LruCache(1)
        self._sights = LruCache(_KEPT_SIGHTS)
        self._merged: lora.Applied | None = None
        self._merged_key: Hashable = None
        self.loaded: Checkpoint | None = None

    def parts(self, checkpoint: Checkpoint, vae: Path | None) -> sd.Parts:
        """The parts of ``checkpoint``, with the VAE of the file ``vae`` where that is given. They wear no LoRA but
        those that :meth:`wear` put on."""
        key = (library.stamp(checkpoint.path), None if vae is None else library.stamp(vae))
        if self.loaded is not None and self.loaded.family is not checkpoint.family:
            self._controlnets.clear()

        def make() -> sd.Parts:
            self._bare()
            self._moving.clear()
            self._free()
            log.info("loading the checkpoint %s", checkpoint.name)
            folders = tokenizers.folders(self._paths.models, checkpoint.path)
            made = sd.load(checkpoint.path, device="cpu", dtype=self.dtype, vae=vae, tokenizers=folders)
            made.placement = self.placement
            return made

        parts = self._checkpoint.get(key, make)
        self.loaded = checkpoint
        return parts

    def controlnet(self, role: ControlRole | IdentityKind, path: Path) -> Any:
        return self._controlnets.get(
            (role, library.stamp(path)), lambda: sd.load_controlnet(path, device="cpu", dtype=self.dtype)
        )

    def adapter(self, path: Path) -> adapter.Adapter:
        return self._adapters.get(library.stamp(path), lambda: adapter.read(path))

    def see(self, encoder: Path, picture: Image, patches: bool) -> adapters.Seen:
        """How CLIP's image encoder at ``encoder`` sees a picture. What it saw last is remembered, because
        every pass over a face asks for the same."""
        stamp = library.stamp(encoder)
        key = (stamp, patches, picture.shape, hashlib.sha256(picture.tobytes()).digest())

        def make() -> adapters.Seen:
            eyes = self._encoder.get(stamp, lambda: adapters.ImageEncoder(encoder, self.dtype))
            return eyes.see(picture, patches=patches, device=self.device)

        return self._sights.get(key, make)

    def moving(self, parts: sd.Parts, path: Path) -> Any:
        """The UNet of ``parts`` with the motion module of ``path``. It has the very layers of that UNet, and wears what
        that wears."""
        groups = int(parts.unet.config.norm_num_groups)

        def make() -> Any:
            return motion.compose(parts.unet, motion.load(path, dtype=self.dtype, groups=groups), path.name)

        return self._moving.get(library.stamp(path), make)

    @contextmanager
    def in_motion(self, parts: sd.Parts, unet: Any) -> Iterator[None]:
        """A context in which ``unet`` works in the place of that of ``parts``, whose layers it has. Behind it, the
        layers of the motion module leave the device."""
        self.placement.hand_over(parts.unet, unet)
        try:
            yield
        finally:
            self.placement.hand_over(unet, parts.unet)
            for name, module in unet.named_modules():
                if name.endswith("motion_modules"):
                    module.to(self.placement.rest)

    def idle(self, nets: Mapping[ControlRole | IdentityKind, Path]) -> int:
        """How many ControlNets are loaded that don't belong to ``nets``."""
        used = {(role, library.stamp(path)) for role, path in nets.items()}
        return sum(key not in used for key in self._controlnets)

    def place(self, parts: sd.Parts, controlnets: Iterable[Any], plan: RenderPlan) -> None:
        """Bring everything to where ``plan`` wants it before a picture is made."""
        everything = (parts.unet, parts.vae, *parts.text_encoders, *controlnets)
        self.placement.by_role = plan.by_role
        set_tiles(parts.vae, plan.tiled)
        if plan.idle_leave:
            self.placement.keep_only(*everything)
        if not plan.by_role:
            self.placement.use(*everything)

    def wear(self, parts: sd.Parts, loras: Sequence[tuple[Path, float]]) -> None:
        """Merge these LoRAs, each with its weight, into ``parts``, and take off all others. When the same LoRAs are
        asked for twice in a row, nothing is done the second time."""
        key = tuple((library.stamp(path), weight) for path, weight in loras)
        if self._merged is not None and key == self._merged_key:
            return
        self._bare()
        if not loras:
            return
        layers = [(self._loras.get(library.stamp(p), lambda p=p: lora.read(p).layers), w) for p, w in loras]  # type: ignore[misc]
        try:
            self._merged = lora.Applied(lora.modules(parts), layers)
        except InvalidRequest as error:
            names = ", ".join(path.name for path, _ in loras)
            raise InvalidRequest("{loras}: {error}", loras=names, error=error) from error
        self._merged_key = key

    def fault(self, parts: sd.Parts, vae: Path | None, loras: Sequence[Path], controlnets: Mapping[Path, Any]) -> str:
        """One sentence that says which file is to blame for a picture of NaN, or "" where all files hold sound numbers.

        It takes the LoRAs off: a model that is sound without them is spoilt by them.
        """
        for path, net in controlnets.items():
            if finite.broken(net):
                return Message("The ControlNet {path} is broken: it holds numbers that are none (NaN).", path=path.name)
        if finite.broken(parts.vae):
            if vae is None:
                return Message(
                    "The VAE inside {path} is broken: it holds numbers that are none (NaN).", path=parts.path.name
                )
            return Message("The VAE {vae} is broken: it holds numbers that are none (NaN).", vae=vae.name)
        spoilt = any(finite.broken(part) for part in (parts.unet, *parts.text_encoders))
        self._bare()
        if any(finite.broken(part) for part in (parts.unet, *parts.text_encoders)):
            return Message(
                "The checkpoint {path} is broken: it holds numbers that are none (NaN).", path=parts.path.name
            )
        if spoilt:
            names = ", ".join(path.name for path in loras)
            return Message(
                "The LoRA {loras} changes the model beyond what its numbers hold: lower its weight.", loras=names
            )
        return ""

    def release(self) -> None:
        """Let go of all models. The next picture loads them again."""
        self._bare()
        self._checkpoint.clear()
        self._moving.clear()
        self._controlnets.clear()
        self._loras.clear()
        self._adapters.clear()
        self._encoder.clear()
        self._sights.clear()
        self.loaded = None
        self._free()

    def _bare(self) -> None:
        if self._merged is not None:
            self._merged.remove()
        self._merged = None
        self._merged_key = None

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
