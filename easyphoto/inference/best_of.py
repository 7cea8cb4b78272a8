"""Several portraits of the same people on the same template: what is tried, and which is kept, the one that is most
alike and sharp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Trial:
    """What one of several portraits is made with: its seed, and by its parameter's name each weight that is searched
    for."""

    seed: int
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Attempt:
    """A portrait that was tried with what ``trial`` says. ``sharpness`` is the mean over the faces that were made, as
    :func:`easyphoto.vision.sharpness.sharpness` measures it. ``made`` says for each face of ``portrait.likeness``
    whether it was made."""

    portrait: Portrait
    trial: Trial
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


def trials(seeds: Sequence[int], grids: Mapping[str, Sequence[float]], done: Sequence[Attempt]) -> Iterator[Trial]:
    """Yield what to try next, for as long as it is asked for. On the first seed each weight goes through its values,
    one weight after the other, while the others stay at the best so far; with the best weights follow the other seeds.
    ``done`` holds the attempts that came off so far and grows meanwhile."""
    start = {name: values[0] for name, values in grids.items()}
    yield _trial(seeds[0], start)
    for name, values in grids.items():
        leading = _leading(done, start)
        for value in values[1:]:
            yield _trial(seeds[0], {**leading, name: value})
    for seed in seeds[1:]:
        yield _trial(seed, _leading(done, start))


def _trial(seed: int, weights: Mapping[str, float]) -> Trial:
    return Trial(seed, tuple(weights.items()))


def _leading(done: Sequence[Attempt], start: Mapping[str, float]) -> Mapping[str, float]:
    """The weights of the best attempt so far."""
    return dict(done[best(done)].trial.weights) if done else start


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
    """What the recipe of the portrait that was ``kept`` says of all of them. ``seed`` and ``count``, of seeds, are
    those that were asked for."""
    searched = [name for name, _ in attempts[kept].trial.weights]
    return {
        "seed": seed,
        "count": count,
        "kept": kept,
        **({"searched": searched} if searched else {}),
        "ceilings": [None if one is None else round(one, 4) for one in ceilings],
        "tried": [
            {
                "seed": one.portrait.seed,
                **dict(one.trial.weights),
                "cosines": [round(cosine, 4) for cosine in one.cosines],
                "sharpness": round(one.sharpness, 2),
            }
            for one in attempts
        ],
    }
