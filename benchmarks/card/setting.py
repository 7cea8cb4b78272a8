"""Where the measurements run and on what: a device, and model files of random numbers in a folder of their own."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from easyphoto import families
from easyphoto.config import Family, Paths
from easyphoto.ports import ControlRole
from tests import tiny, tiny_files
from tests.weights import full_size

T = TypeVar("T")
SIDES = {Family.SD1: 512, Family.SDXL: 1024}
"""The side in pixels for which each family was made."""
TINY_SIDES = {Family.SD1: 64, Family.SDXL: 64}


@dataclass(frozen=True)
class Setting:
    """The ``device`` on which everything runs, the folder ``work`` for model files and the folder ``out`` for results.

    With ``tiny`` the models and the pictures are small, so that the whole check can be tried on a processor.
    """

    device: str
    work: Path
    out: Path
    tiny: bool = False
    _kept: dict[object, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        return Paths.standalone(self.work)

    @property
    def on_card(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def side(self, family: Family) -> int:
        return (TINY_SIDES if self.tiny else SIDES)[family]

    def precisions(self) -> tuple[str, ...]:
        """The precisions that the device computes in. A processor has kernels for bf16 and not for all of fp16."""
        return ("fp16", "bf16") if self.on_card else ("bf16",)

    def kept(self, key: object, make: Callable[[], T]) -> T:
        """Return what was made for ``key``, so that parts of the check that follow one another load a model once. Only
        the latest is kept."""
        if key not in self._kept:
            self._kept.clear()
            self.clear()
            self._kept[key] = make()
        value: T = self._kept[key]
        return value

    def tokenizers(self, family: Family) -> Path:
        """The folder of a tokenizer that fits the checkpoints of this setting."""
        folder = self.paths.models / "tokenizer"
        if not folder.is_dir():
            if self.tiny:
                tiny.tokenizer(folder)
            else:
                full_size.vocabulary(folder)
        return folder

    def checkpoint(self, family: Family) -> Path:
        """The checkpoint of a family: a single file of random numbers, which is written at the first call."""
        tokens = self.tokenizers(family)
        path = self.paths.models / "Stable-diffusion" / f"random-{family.value}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.tiny:
                count = len(tiny.tokenizer(tokens))
                tiny_files.single_file(path, family, tiny_files.models(family, count))
            else:
                full_size.write(path, family)
        return path

    def controlnets(self, family: Family) -> list[Path]:
        """A ControlNet for each role of the family, under its published name. They are one file with several names."""
        folder = self.paths.models / "ControlNet"
        folder.mkdir(parents=True, exist_ok=True)
        models = families.spec(family).control_models
        names = [models[role][0].published for role in ControlRole if role in models]
        files = [folder / f"{name.strip('.*')}.safetensors" for name in names]
        if not files[0].is_file():
            if self.tiny:
                _tiny_controlnet(files[0], family)
            else:
                full_size.write_controlnet(files[0], family)
        for file in files[1:]:
            if not file.is_file():
                os.link(files[0], file)
        return files

    def sync(self) -> None:
        """Wait until the device has done all that it was asked for."""
        if self.on_card:
            torch.cuda.synchronize()

    def clear(self) -> None:
        """Let go of what nobody holds any more, and begin to watch the memory anew."""
        gc.collect()
        if self.on_card:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> dict[str, float]:
        """The most memory since :meth:`clear` in GB: what tensors took, and what the allocator held for them."""
        if not self.on_card:
            return {}
        return {
            "allocated_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3),
            "reserved_gb": round(torch.cuda.max_memory_reserved() / 1e9, 3),
        }

    @contextmanager
    def limited(self, gigabytes: float) -> Iterator[None]:
        """A context in which torch gets no more than so much of the card's memory. A processor's is not limited."""
        if not self.on_card:
            yield
            return
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(gigabytes * 1e9 / total, 1.0))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def _tiny_controlnet(path: Path, family: Family) -> None:
    from diffusers import ControlNetModel
    from safetensors.torch import save_file

    config: dict[str, Any] = {k: v for k, v in tiny_files.unet_config(family).items() if k != "up_block_types"}
    save_file(ControlNetModel(**config).state_dict(), path)
