"""The device of a training, what fits into its memory, and the base model on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from easyphoto import memory
from easyphoto.config import TrainConfig
from easyphoto.memory import MemoryPlan
from easyphoto.training import loop
from easyphoto.training.spec import TrainingSpec

if TYPE_CHECKING:
    from accelerate import Accelerator

    from easyphoto.sd.parts import Parts


def device(spec: TrainingSpec) -> torch.device:
    """The device that was asked for, else the best that this machine has."""
    if spec.device:
        return torch.device(spec.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def fit(spec: TrainingSpec, device: torch.device) -> MemoryPlan:
    """How to train within the device's free memory; what is learned stays the same."""
    available = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return memory.plan(spec.config, spec.family, loop.precision(spec.config, device), available)


def accelerator(config: TrainConfig, device: torch.device) -> Accelerator:
    """The accelerator of a training on this device, in the precision of the options."""
    from accelerate import Accelerator

    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return Accelerator(
        mixed_precision=loop.precision(config, device),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        cpu=device.type == "cpu",
    )


def load(spec: TrainingSpec, device: torch.device, mixed: str, *, by_role: bool) -> Parts:
    """The base model under the precision ``mixed``. With ``by_role`` only the parts that are in use lie on the
    device."""
    from easyphoto import sd
    from easyphoto.sd import tokenizers
    from easyphoto.sd.placement import Placement

    parts = sd.load(
        spec.checkpoint,
        device="cpu" if by_role else device,
        dtype=loop.weight_type(mixed),
        vae=spec.vae,
        tokenizers=tokenizers.folders(spec.models, spec.checkpoint),
    )
    if by_role:
        parts.placement = Placement(device, by_role=True)
    return parts
