"""Sets of photos of one person whose heads look where they are told to, for `coach_table.py`.

Each set is made of one synthetic portrait: cut elsewhere, in another light and with another expression, so that the
photos are no near-duplicates. Where the head of a portrait looks was told by eye (:data:`LOOKING`), and how far it is
turned from there is known too, because it is warped by an angle that is drawn (`tools/bench/warped_clips.py`). So
nothing here asks the coach's own measure of a head.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "bench")]

from made_people import loaded, picture_of  # noqa: E402
from warped_clips import SOURCE, Movement, Portraits, moved  # noqa: E402

from easyphoto.ports import Image, Vision  # noqa: E402
from easyphoto.training.photo_coach import HeadBin  # noqa: E402

Named: TypeAlias = list[tuple[str, Image]]

LOOKING = {
    HeadBin.FRONT: (
        "faker/female-00", "faker/female-19", "faker/female-37", "faker/female-77", "faker/female-97",
        "faker/male-34", "faker/male-52", "faker/male-70", "faker/male-88", "sfhq/01492", "sfhq/01519",
        "sfhq/01603", "sfhq/01678", "sfhq/01753", "sfhq/01775", "sfhq/01801", "sfhq/01825", "sfhq/01931",
        "sfhq/02011", "t2i/00133", "t2i/00443", "t2i/00473", "t2i/00719", "t2i/01212",
    ),
    HeadBin.LEFT: (
        "faker/female-08", "sfhq/01601", "sfhq/01911", "t2i/00463", "t2i/01059", "t2i/01141",
    ),
    HeadBin.RIGHT: (
        "faker/female-42", "sfhq/01700", "sfhq/01941", "t2i/00195", "t2i/01031", "t2i/01106",
    ),
}  # fmt: skip
"""Portraits by where their heads look from the viewer. They were chosen by eye, from 48, 16 and 16 that lay evenly
spread among those whose caption says so. The captions alone don't do: they call heads that are half turned and look
into the camera "front"."""
SIDES = frozenset({HeadBin.LEFT, HeadBin.FRONT, HeadBin.RIGHT})
PHOTOS = 5
TURNED = (22.0, 30.0)
"""By how many degrees a head is turned that is turned on purpose: clearly more than the coach's limit."""
WINDOWS = ((0.0, 0.0, 1.0), (0.12, 0.1, 0.78), (0.02, 0.16, 0.82), (0.2, 0.04, 0.8), (0.1, 0.02, 0.9))
"""What is cut of the portrait for each photo: left, top and side, as shares of it."""
SMILES = (0.0, 0.9, -0.8, 0.3, -0.4)
BROWS = (0.0, 0.4, 0.9, -0.7, 0.2)
LIGHT = ((0.0, 0.0, 0.0), (0.25, 0.0, 0.05), (-0.3, 0.1, 0.0), (0.1, -0.25, -0.12), (-0.15, 0.2, 0.1))
"""The light's slope to the right and down, and its offset, in each photo."""


@dataclass(frozen=True)
class HeadSet:
    """Photos of one person, and the directions in which no head of them looks."""

    photos: Named
    missing: frozenset[HeadBin]


def looking(portraits: Path, where: HeadBin, vision: Vision, count: int) -> Iterator[tuple[str, Portraits]]:
    """The first ``count`` portraits whose heads look there, by their names. One without a face is left out."""
    for name in LOOKING[where][:count]:
        portrait = loaded(portraits / f"{name}.jpg", vision)
        if portrait is not None:
            yield name, portrait


def one_way(name: str, portrait: Portraits, where: HeadBin = HeadBin.FRONT) -> HeadSet:
    """All heads look where the portrait's does."""
    return HeadSet(photos_of(name, portrait, np.zeros(PHOTOS)), SIDES - {where})


def every_way(name: str, portrait: Portraits) -> HeadSet:
    """The same photos of a portrait that looks ahead, but one head is turned to the left and one to the right."""
    rng, degrees = np.random.default_rng([23, *name.encode()]), np.zeros(PHOTOS)
    left, right = rng.choice(np.arange(1, PHOTOS), 2, replace=False)
    degrees[left], degrees[right] = -rng.uniform(*TURNED), rng.uniform(*TURNED)
    return HeadSet(photos_of(name, portrait, degrees), frozenset())


def photos_of(name: str, portrait: Portraits, degrees: NDArray[np.float64]) -> Named:
    """The photos, each with its head turned by so many degrees to the viewer's right."""
    frames = moved(portrait, torch.zeros(1, dtype=torch.long), movement(degrees))[0]
    return [(f"{name}-{number}", picture_of(frame)) for number, frame in enumerate(frames)]


def movement(degrees: NDArray[np.float64]) -> Movement:
    """What tells the photos of a set apart, as a clip of as many frames."""

    def row(values: Sequence[float] | NDArray[np.float64]) -> torch.Tensor:
        return torch.tensor(np.asarray(values, np.float32))[None]

    none = row(np.zeros(PHOTOS))
    left, top, side = (SOURCE * row(values) for values in zip(*WINDOWS, strict=True))
    across, down, even = (row(values) for values in zip(*LIGHT, strict=True))
    return Movement(
        turn=row(np.radians(degrees)),
        nod=none,
        lean=none,
        sway=(none, none),
        smile=row(SMILES),
        brows=row(BROWS),
        blink=none,
        window=(left, top, side),
        light=(across, down, even),
    )
