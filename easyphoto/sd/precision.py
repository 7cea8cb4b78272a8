"""The precision in which a graphics card is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FIRST_WITH_BF16 = 8
"""The compute capability of the first cards that calculate in bfloat16 (Ampere); older ones (T4, RTX 20) emulate it."""


def fast_bf16(device: torch.device) -> bool:
    """Return whether a CUDA device calculates in bfloat16 itself.

    ``torch.cuda.is_bf16_supported()`` also counts emulation, which is many times slower than half precision, and it
    asks about the current device, whichever that is.
    """
    import torch

    if torch.version.hip:
        return bool(torch.cuda.is_bf16_supported())
    return torch.cuda.get_device_capability(device)[0] >= _FIRST_WITH_BF16
