"""Puts several LoRAs together, by tensor mathematics on what each adds to the weights.

A LoRA of rank r adds ``delta = alpha / r * up @ down`` to a weight. The mean of several LoRAs is the mean of their
deltas. It is not the LoRA of the mean ups and mean downs: (U1 + U2)/2 @ (D1 + D2)/2 holds the cross terms U1 @ D2 and
U2 @ D1, which nobody trained. The sum of k deltas has a rank of at most k * r, so stacked factors hold it exactly. The
singular value decomposition brings it back to rank r and loses least (Eckart and Young). Only the small (k * r) x (k *
r) core of the stacked factors is decomposed, never the dense weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, SupportsFloat, TypeAlias, TypeVar

import torch
from torch import Tensor

from easyphoto.sd.lora import Layers, LoraLayer


def combine(loras: Sequence[Layers], weights: Sequence[float]) -> dict[str, LoraLayer]:
    """Return the weighted sum of the deltas, exactly, as factors whose rank is the sum of the ranks.

    A layer that one of the LoRAs lacks counts as zero there. The layers are in float32, and their alpha equals their
    rank.
    """
    if not loras or len(loras) != len(weights):
        raise ValueError("as many weights as LoRAs are needed, and at least one")
    names = list(dict.fromkeys(name for lora in loras for name in lora))
    return {
        name: _stack([(lora[name], w) for lora, w in zip(loras, weights, strict=True) if name in lora])
        for name in names
    }


def compress(lora: Layers, rank: int, alpha: float) -> dict[str, LoraLayer]:
    """Return the LoRA of ``rank`` whose deltas are nearest to those of ``lora`` in the Frobenius norm.

    A layer of a smaller rank is padded with zeros, so that every layer of the result has the same rank and ``alpha``.
    """
    return {name: _compress(factors, rank, alpha) for name, factors in lora.items()}


def fuse(loras: Sequence[Layers], weights: Sequence[float], rank: int, alpha: float) -> dict[str, LoraLayer]:
    """Return the weighted sum of the deltas, brought back to ``rank``."""
    return compress(combine(loras, weights), rank, alpha)


def mean(loras: Sequence[Layers], rank: int, alpha: float) -> dict[str, LoraLayer]:
    """Return the plain mean of the deltas, brought back to ``rank``."""
    return fuse(loras, [1 / len(loras)] * len(loras), rank, alpha)


S = TypeVar("S", bound=SupportsFloat)
"""How well a LoRA does. ``float`` of it is a number, and a higher one is better. It may hold more than that."""
Scorer: TypeAlias = Callable[[Layers], S]
"""Validates a LoRA and returns how well it does."""


@dataclass(frozen=True)
class Soup(Generic[S]):
    """A fused LoRA, the positions in the ranking of the checkpoints that it holds, and its score."""

    lora: dict[str, LoraLayer]
    members: tuple[int, ...]
    score: S


def greedy(
    count: int,
    load: Callable[[int], Layers],
    score: Scorer[S],
    first_score: S,
    shape: tuple[int, float],
) -> Soup[S]:
    """Make a greedy soup: go through ``count`` checkpoints, the best first, and keep one only if the mean with it
    scores better than the mean without it.

    ``load`` reads the checkpoint of a position in the ranking. ``score`` validates a LoRA. ``first_score`` is the score
    of the best checkpoint alone, which the training knows. ``shape`` is the rank and the alpha. This is recipe 1 of
    Wortsman et al., 2022.
    """
    rank, alpha = shape
    members = [0]
    kept: list[Layers] = [load(0)]
    best = Soup(dict(kept[0]), (0,), first_score)
    for position in range(1, count):
        candidates = [*kept, load(position)]
        fused = mean(candidates, rank, alpha)
        value = score(fused)
        if float(value) > float(best.score):
            kept = candidates
            members.append(position)
            best = Soup(fused, tuple(members), value)
    return best


def _matrices(factors: LoraLayer) -> tuple[Tensor, Tensor]:
    down = factors.down.double().flatten(1)
    up = factors.up.double().flatten(1) * (factors.alpha / factors.rank)
    return down, up


def _stack(parts: Sequence[tuple[LoraLayer, float]]) -> LoraLayer:
    downs = [part.down.float() for part, _ in parts]
    ups = [part.up.float() * (weight * part.alpha / part.rank) for part, weight in parts]
    down = torch.cat(downs, 0)
    return LoraLayer(down, torch.cat(ups, 1), float(down.shape[0]))


def _compress(factors: LoraLayer, rank: int, alpha: float) -> LoraLayer:
    down, up = _matrices(factors)
    left, core_left = torch.linalg.qr(up)
    right, core_right = torch.linalg.qr(down.T)
    u, s, vh = torch.linalg.svd(core_left @ core_right.T, full_matrices=False)
    kept = min(rank, s.numel())
    root = (s[:kept] * (rank / alpha)).sqrt()
    new_up = torch.zeros(up.shape[0], rank, dtype=up.dtype, device=up.device)
    new_down = torch.zeros(rank, down.shape[1], dtype=down.dtype, device=down.device)
    new_up[:, :kept] = left @ u[:, :kept] * root
    new_down[:kept] = root[:, None] * (vh[:kept] @ right.T)
    return LoraLayer(
        new_down.to(factors.down.dtype).reshape(rank, *factors.down.shape[1:]),
        new_up.to(factors.up.dtype).reshape(up.shape[0], rank, *factors.up.shape[2:]),
        alpha,
    )
