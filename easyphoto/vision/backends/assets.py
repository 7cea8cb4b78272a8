"""Weights for backends: found through the catalog, opened without running what is in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto.catalog import Catalog, Folders, Look
from easyphoto.errors import AssetMissing
from easyphoto.messages import Message

if TYPE_CHECKING:
    import torch


def find(models: Path, name: str) -> Path:
    """The file of a catalog's asset, anywhere below the models folder, its checksum compared at the first time.
    AssetMissing says how to get it."""
    catalog = Catalog.load()
    path = catalog.path(name, Folders.under(models), hashing=True)
    if path is None:
        bundle = next((b.name for b in catalog.offered.values() if name in b.assets), name)
        file = catalog.assets[name].file
        raise AssetMissing(
            "The weights {file} are missing; `python -m easyphoto models fetch {bundle}` gets them.",
            file=file,
            bundle=bundle,
        )
    return path


class Inventory:
    """What of the catalog lies below a models folder, seen once: whoever asks for many assets asks one inventory."""

    def __init__(self, models: Path) -> None:
        self._models = models

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog.load()

    @cached_property
    def _look(self) -> Look:
        return Look(self._catalog, Folders.under(self._models))

    def lacking(self, names: Iterable[str]) -> list[str]:
        """What of the assets is not there, in words."""
        return [
            Message("the file {file}", file=self._catalog.assets[n].file) for n in names if self._look.path(n) is None
        ]


def read_state(path: Path) -> dict[str, Any]:
    """What a weights file holds: tensors by name, or a dictionary of such. Nothing in it is ever executed.

    Safetensors, or whatever ``torch.load(weights_only=True)`` takes. AssetMissing for all else, with one sentence.
    """
    import torch

    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AssetMissing(
            "{path} is not used: loading it would run code, or it is damaged; get the published file again.",
            path=path.name,
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise AssetMissing("{path} is damaged and can't be loaded ({error}).", path=path.name, error=error) from error
    if not isinstance(state, dict):
        raise AssetMissing("{path} holds no weights by name.", path=path.name)
    return state


def fill(net: torch.nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Put the weights into the net and make it ready to use. Every name and shape must fit; AssetMissing names the
    first that does not."""
    import torch

    wanted = net.state_dict()
    given = {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, torch.Tensor)}
    lacks = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in wanted]
    wrong = [k for k in wanted if k in given and given[k].shape != wanted[k].shape]
    if wrong:
        k = wrong[0]
        what = f"{k} has the shape {tuple(given[k].shape)} where {tuple(wanted[k].shape)} is expected"
    elif lacks or extra:
        what = f"{len(lacks)} weights are missing and {len(extra)} unknown, first {(lacks or extra)[0]}"
    else:
        net.load_state_dict(given, strict=False)
        net.requires_grad_(False).eval()
        return
    raise AssetMissing("{path} does not fit {kind}: {what}.", path=path.name, kind=type(net).__name__, what=what)


def device() -> str:
    """Where nets run: the graphics card if torch has one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
