"""Single ``.safetensors`` files in the original naming -> diffusers' parts, with configurations of our own.

The published architectures are told apart by the width of their text embedding; block widths and depths are read from
the tensors' shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto.checkpoint import CheckpointInfo
from easyphoto.errors import AssetMissing
from easyphoto.sd.parts import Parts

if TYPE_CHECKING:
    import torch


def load(
    info: CheckpointInfo,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    vae: Any | None,
    tokenizers: Sequence[Path],
) -> Parts:
    raise AssetMissing("Single-file checkpoints are not supported yet.")


def load_controlnet(info: CheckpointInfo, *, dtype: torch.dtype) -> Any:
    raise AssetMissing("Single-file ControlNets are not supported yet.")


def load_vae(path: Path) -> Any:
    raise AssetMissing("Single-file VAEs are not supported yet.")
