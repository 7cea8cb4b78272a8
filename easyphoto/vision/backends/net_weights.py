"""Weights are put into networks. Files are opened without running what is in them, and every name and shape must
fit."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto.errors import AssetMissing

if TYPE_CHECKING:
    import torch


def read_state(path: Path) -> dict[str, Any]:
    """What a weights file holds: tensors by name, or a dictionary of such. Nothing in it is ever executed.

    The file is of safetensors, or of a kind that ``torch.load(weights_only=True)`` takes. Raises :class:`AssetMissing`,
    with one sentence, for any other file.
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
    """Put the weights into the network and make it ready to use. Raises :class:`AssetMissing`, which names the first
    weight whose name or shape doesn't fit."""
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
    """Where networks run: on the graphics card if torch has one, else on the processor."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
