"""Every random draw of a training follows from (seed, what for, step) alone, so a training that is resumed, on another
device or with another split of its batch, draws the same."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, what: str, number: int = 0) -> torch.Generator:
    """A generator on the CPU for one purpose."""
    name = hashlib.blake2b(f"{seed}/{what}/{number}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(name, "big") >> 1)


def batch(seed: int, step: int, size: int, count: int) -> list[int]:
    """Which of ``count`` items step ``step`` (from 1) sees: epochs in random order, one after another, no item left
    out."""
    start = (step - 1) * size
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(start, start + size):
        epoch, place = divmod(position, count)
        if epoch not in orders:
            orders[epoch] = torch.randperm(count, generator=generator(seed, "order", epoch)).tolist()
        chosen.append(orders[epoch][place])
    return chosen


def timesteps(source: torch.Generator, size: int, count: int) -> Tensor:
    """``size`` whole numbers in [0, count): one from each of ``size`` equal parts, in random order.

    Each is uniform, and together they are spread more evenly than independent ones, so the loss varies less.
    """
    spread = (torch.randperm(size, generator=source) + torch.rand(size, generator=source)) / size
    return (spread * count).long().clamp(0, count - 1)
