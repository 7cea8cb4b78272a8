"""The device and the precision in which this machine runs Stable Diffusion best."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose(device: str | torch.device | None, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """The device and the precision that were asked for, or the best ones where they are None.

    The best device is CUDA, then Apple's GPU, then the CPU. The best precision is float16 on a GPU, bfloat16 on a CPU
    that has instructions for it (where a step was a third faster than in float32), and float32 on other CPUs."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    where = torch.device(device)
    if dtype is None:
        dtype = (torch.bfloat16 if fast_bf16() else torch.float32) if where.type == "cpu" else torch.float16
    return where, dtype


def free_memory(device: torch.device) -> int | None:
    """How many bytes models and pictures may take on ``device``, counting what this process has taken already. None
    where nobody can tell, or where moving a model away would free nothing: on the CPU and on Apple's GPU."""
    import torch

    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))


def precision(dtype: torch.dtype) -> str:
    """The name that :mod:`easyphoto.memory` has for a precision."""
    import torch

    return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, "no")


def fast_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16. Without them it computes ten times more slowly in bfloat16 than
    in float32."""
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in checks if hasattr(torch.cpu, name))
