"""What the reward asks of one face, as functions that a gradient goes through, and the guards that stand in them.

Published rewards without guards were hacked: the face that the network likes best is no face. Here nothing is gained by
being more alike than the person's photos are to one another, by a place that only one cut of the face has, or by a face
that is sharper, softer, more or less colourful than the photos, or softer than the person's LoRA alone would paint it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TURN, SCALE, SHIFT, LIGHT = 0.05, 0.04, 0.015, 0.1
"""How far the cut of the face is moved about before the network sees it: radians, a share of its size, a share of its
side, a share of its brightness."""
SPARE = 0.1
"""How far outside the photos' range a face's sharpness and saturation may lie, as a share of its ends."""


@dataclass(frozen=True, eq=False)
class RewardTarget:
    """The faces that a made face shall be like: ``vectors`` (n, d) of the photos, of length 1, at least three.

    ``same`` is the usual cosine of two photos of one person, by which the cosine is divided.
    """

    vectors: Tensor
    same: float

    @property
    def ceiling(self) -> float:
        """How alike a photo of the person is to the others: the median over the photos of the mean cosine to the rest.
        Above that nothing is gained."""
        cosines = self.vectors @ self.vectors.T
        count = len(cosines)
        return float(((cosines.sum(1) - cosines.diagonal()) / (count - 1)).median())

    def cosine(self, made: Tensor, shown: int | None = None) -> Tensor:
        """The mean cosine of a face (d,) to the photos. The photo ``shown``, whose noise was repaired, doesn't count:
        nothing would be easier than to give it back."""
        others = [i for i in range(len(self.vectors)) if i != shown]
        return (self.vectors[others] @ made).mean()

    def loss(self, made: Tensor, shown: int | None = None) -> Tensor:
        """0 for a face that is as alike as the photos are to one another, and more for one that is less."""
        return functional.relu(self.ceiling - self.cosine(made, shown)) / self.same


@dataclass(frozen=True)
class PhotoRange:
    """The least and the most of a number over the photos of a person."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> PhotoRange:
        return cls(min(values) * (1 - SPARE), max(values) * (1 + SPARE))

    def excess(self, value: Tensor) -> Tensor:
        """By how much ``value`` lies outside, as a share of the upper end."""
        return (functional.relu(self.low - value) + functional.relu(value - self.high)) / max(self.high, 1e-6)


def dulled(value: Tensor, asked: Tensor) -> Tensor:
    """By how much a face is less sharp than is ``asked``, as a share of that; 0 for one that is not."""
    return functional.relu(asked - value) / asked.clamp_min(1e-6)


def sharpness(chip: Tensor) -> Tensor:
    """The size of the Laplacian of the brightness of a chip (1, 3, h, w) in [0, 1]: the root of its mean square, which
    is also what the gate's sharpness is made of (:mod:`easyphoto.vision.sharpness`)."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=chip.dtype, device=chip.device)
    return functional.conv2d(chip.mean(1, keepdim=True), kernel[None, None]).square().mean().clamp_min(1e-12).sqrt()


def saturation(chip: Tensor) -> Tensor:
    """The mean distance between the strongest and the weakest colour of each pixel of a chip (1, 3, h, w)."""
    return (chip.amax(1) - chip.amin(1)).mean()


@dataclass(frozen=True)
class Jitter:
    """How one cut of a face is moved about: turned (radians), scaled, shifted (shares of its side), mirrored, and made
    brighter."""

    turn: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False
    light: float = 1.0

    @classmethod
    def drawn(cls, source: torch.Generator) -> Jitter:
        a, b, x, y, flip, light = (2 * torch.rand(6, generator=source, dtype=torch.float64) - 1).tolist()
        return cls(TURN * a, 1 + SCALE * b, (SHIFT * x, SHIFT * y), flip > 0, 1 + LIGHT * light)

    def around(self, place: Tensor, side: int) -> Tensor:
        """The map (2, 3) of a chip's pixels to the picture's, moved about."""
        c, s = self.scale * math.cos(self.turn), self.scale * math.sin(self.turn)
        flip = -1.0 if self.mirrored else 1.0
        turn = torch.tensor([[c * flip, -s], [s * flip, c]], dtype=place.dtype, device=place.device)
        middle = torch.full((2,), (side - 1) / 2, dtype=place.dtype, device=place.device)
        shift = torch.tensor(self.shift, dtype=place.dtype, device=place.device) * side
        moved = middle + shift - turn @ middle
        return torch.cat([place[:, :2] @ turn, (place[:, :2] @ moved + place[:, 2])[:, None]], 1)


PLAIN = Jitter()
"""The cut as the network usually sees it."""


def chip(picture: Tensor, place: Tensor, side: int, jitter: Jitter = PLAIN) -> Tensor:
    """Cut a face (1, 3, side, side) out of a picture (1, 3, h, w) in [0, 1], by the map ``place`` (2, 3) of the chip's
    pixels to the picture's."""
    place = jitter.around(place.to(picture), side)
    factor = float(place[:, :2].det().abs().sqrt())
    if factor > 1:  # a face with more pixels than the chip is made smaller first, or its edges would flicker
        picture = functional.interpolate(
            picture,
            size=[max(2, round(n / factor)) for n in picture.shape[-2:]],
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )
        place = torch.cat([place[:, :2] / factor, (place[:, 2:] + 0.5) / factor - 0.5], 1)
    pixels = torch.arange(side, dtype=picture.dtype, device=picture.device)
    grid = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)
    there = grid @ place[:, :2].T + place[:, 2]
    size = torch.tensor(picture.shape[:1:-1], dtype=picture.dtype, device=picture.device)
    cut = functional.grid_sample(
        picture, ((2 * there + 1) / size - 1)[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return (cut * jitter.light).clamp(0, 1)
