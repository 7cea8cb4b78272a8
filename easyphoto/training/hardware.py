"""Chooses the device of a training and what fits into its memory, and loads the base model on it."""

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
    """Return the device that was asked for, or else the best one that this machine has."""
    if spec.device:
        return torch.device(spec.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def fit(spec: TrainingSpec, device: torch.device) -> MemoryPlan:
    """Return how to train within the device's free memory, and in larger batches if it has room for them. What is
    learned stays the same."""
    available = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    precision = loop.precision(spec.config, device)
    return memory.gathered(memory.plan(spec.config, spec.family, precision, available), spec.family, precision)


def accelerator(config: TrainConfig, device: torch.device) -> Accelerator:
    """Return the accelerator for a training on this device, in the precision that the options ask for."""
    from accelerate import Accelerator

    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        # Trying all algorithms took over 20 s before the first step, and what it takes may differ from run to run.
        torch.backends.cudnn.benchmark = False
    return Accelerator(
        mixed_precision=loop.precision(config, device),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        cpu=device.type == "cpu",
    )


def load(spec: TrainingSpec, device: torch.device, mixed: str, *, by_role: bool) -> Parts:
    """Load the base model for the precision ``mixed``. If ``by_role`` is true, only the parts that are in use lie on
    the device."""
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
