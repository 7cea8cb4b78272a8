"""Where and in which precision this machine runs Stable Diffusion best."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose(device: str | torch.device | None, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """The asked device and precision, or the best: CUDA, then Apple's GPU, then the CPU; half precision on a GPU, and
    on a CPU bfloat16 where it has instructions for it (a third faster here) and float32 elsewhere."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    where = torch.device(device)
    if dtype is None:
        dtype = (torch.bfloat16 if fast_bf16() else torch.float32) if where.type == "cpu" else torch.float16
    return where, dtype


def free_memory(device: torch.device) -> int | None:
    """Bytes that models and pictures may take on ``device``, with what this process has taken already; None where
    moving a model away would free nothing (the CPU, Apple's GPU) or it can't be told."""
    import torch

    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))


def precision(dtype: torch.dtype) -> str:
    """The name of a type as :mod:`easyphoto.memory` has it."""
    import torch

    return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, "no")


def fast_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16; without them it is ten times slower in it than in float32."""
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in checks if hasattr(torch.cpu, name))
