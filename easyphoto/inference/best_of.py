"""Which of several portraits of the same people on the same template is kept: the one that is most alike and sharp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from easyphoto.ports import Portrait

SHARP_WEIGHT = 0.5
"""How much sharpness counts beside likeness, where both are measured in their own spreads."""
ALIKE_SPREAD, SHARP_SPREAD = 0.01, 0.25
"""Portraits whose cosines, or whose sharpness in powers of two, spread less than this are taken to spread so much: what
differs less can't be seen."""
UNMEASURED = -1.0
"""The cosine of a face whose likeness couldn't be measured."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """A portrait that was tried. ``sharpness`` is the mean over the faces that were made, as
    :func:`easyphoto.vision.sharpness.sharpness` measures it. ``made`` says for each face of ``portrait.likeness``
    whether it was made."""

    portrait: Portrait
    sharpness: float
    made: tuple[bool, ...]

    @property
    def cosines(self) -> list[float]:
        """The likeness of each face that was made."""
        faces = zip(self.portrait.likeness, self.made, strict=True)
        return [UNMEASURED if one is None else one.cosine for one, made in faces if made]

    def reaches(self, ceilings: Sequence[float | None]) -> bool:
        """Whether every face is as much like its person as their photos are like one another. ``ceilings``: one for
        each face that was made, None where that isn't known."""
        pairs = list(zip(self.cosines, ceilings, strict=True))
        return bool(pairs) and all(wanted is not None and cosine >= wanted for cosine, wanted in pairs)


def best(attempts: Sequence[Attempt]) -> int:
    """The index of the attempt that is most alike and sharp together; among equals the first."""
    alike = np.array([np.mean(one.cosines or [UNMEASURED]) for one in attempts], np.float64)
    sharp = np.log2([max(one.sharpness, 1e-6) for one in attempts])
    merit = _standing(alike, ALIKE_SPREAD) + SHARP_WEIGHT * _standing(sharp, SHARP_SPREAD)
    return int(np.argmax(merit))


def _standing(values: Any, spread: float) -> Any:
    return (values - values.mean()) / max(float(values.std()), spread)


def tried(
    attempts: Sequence[Attempt], kept: int, ceilings: Sequence[float | None], seed: int, count: int
) -> dict[str, Any]:
    """What the recipe of the portrait that was ``kept`` says of all of them. ``seed`` and ``count`` are those that were
    asked for."""
    return {
        "seed": seed,
        "count": count,
        "kept": kept,
        "ceilings": [None if one is None else round(one, 4) for one in ceilings],
        "tried": [
            {
                "seed": one.portrait.seed,
                "cosines": [round(cosine, 4) for cosine in one.cosines],
                "sharpness": round(one.sharpness, 2),
            }
            for one in attempts
        ],
    }
