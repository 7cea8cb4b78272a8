"""The random draws of a training. Each one follows from the seed, its purpose and the step alone, so a training draws
the same when it is resumed, runs on another device, or splits its batch otherwise."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, what: str, number: int = 0) -> torch.Generator:
    """Return a generator on the CPU for one purpose."""
    name = hashlib.blake2b(f"{seed}/{what}/{number}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(name, "big") >> 1)


def batch(seed: int, step: int, size: int, count: int) -> list[int]:
    """Return which of ``count`` items step ``step`` (from 1) sees. The steps go through all items in a random order,
    then through all of them in another one, and leave out none."""
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
    """Return ``size`` whole numbers in [0, count): one from each of ``size`` equal parts of the range, in a random
    order.

    Each number is uniform, and together they are spread more evenly than independent numbers, so the loss varies less.
    """
    spread = (torch.randperm(size, generator=source) + torch.rand(size, generator=source)) / size
    return (spread * count).long().clamp(0, count - 1)
