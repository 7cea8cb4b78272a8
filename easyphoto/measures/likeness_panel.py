"""The panel: what can be said of how much portraits look like a person, and how sure that is.

A likeness is told between a *floor* (the base model without the LoRA, on the same templates) and a *ceiling* (the
person's own photos to one another), with the threshold that one of 100 pairs of strangers reaches. It is the mean of
the three nearest photos, because nearness to many photos follows what people say, and nearness to their mean does not.
All numbers here are cosines. None of them is a percentage, and none compares two embedders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from easyphoto.likeness import rounded
from easyphoto.ports import Calibration

CosineTable: TypeAlias = NDArray[np.float64]
"""Cosines of shape (m, n): a row for each portrait or photo, a column for each photo that it is compared with."""

NEAREST = 3
COPIES = 0.5
"""From this copying on, the portraits lie nearer to one training photo than halfway between it and the held-out one."""
GAINED = 0.1
"""Less of the way from the floor to the ceiling than this is no gain."""


class PanelWord(str, Enum):
    """What the panel says in a few words."""

    PERSON = "looks like the person"
    RELATIVE = "looks like a relative"
    TEMPLATE = "looks like the template"
    COPY = "copies a photo"


class FloorOf(str, Enum):
    """Whose likeness the floor is."""

    BASE = "without the LoRA"
    """What the base model makes of the same templates without anything of the person."""
    TEMPLATE = "template"
    """The template's own face."""


@dataclass(frozen=True)
class PanelRow:
    """The likeness by one embedder: ``value``, and what it lies between. Each is a cosine, or None where there was
    nothing to measure it on. ``measured`` says whether anybody measured what this embedder's cosines mean."""

    embedder: str
    value: float | None
    floor: float | None
    ceiling: float | None
    threshold: float
    measured: bool = True

    @property
    def way(self) -> float | None:
        """How much of the way from the floor to the ceiling the value has come; None without both, or where the ceiling
        is not above the floor."""
        if self.value is None or self.floor is None or self.ceiling is None or self.ceiling <= self.floor:
            return None
        return (self.value - self.floor) / (self.ceiling - self.floor)

    @property
    def word(self) -> PanelWord | None:
        """What this embedder says; None when it saw nothing. Below the threshold a face is a stranger's or at most a
        relative's."""
        if self.value is None:
            return None
        if self.way is not None and self.way < GAINED:
            return PanelWord.TEMPLATE
        return PanelWord.PERSON if self.value >= self.threshold else PanelWord.RELATIVE

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data."""
        numbers = {k: getattr(self, k) for k in ("value", "floor", "ceiling", "threshold")}
        unmeasured = {} if self.measured else {"measured": False}
        return {"embedder": self.embedder, **{k: _told(v) for k, v in numbers.items()}, **unmeasured}


@dataclass(frozen=True)
class PanelCounts:
    """How many pictures were asked for, in how many of them a face was ``missing`` though the template's looks ahead,
    and how many were left out (``not_applicable``) because no face was found on a template in profile."""

    pictures: int
    missing: int = 0
    not_applicable: int = 0


@dataclass(frozen=True)
class LikenessPanel:
    """What is told of a training. ``reporter`` is None where the judge's is the only embedder.

    ``copying`` goes from -1 to 1: 0 says that the portraits lie as near to the photos that were held out as to the
    nearest training photo, and 1 that they are that training photo. ``dominant_photo`` names the training photo that
    most portraits lie nearest to, and is empty when there is none. ``held_out`` names the photos that the likeness was
    measured on, and is empty when each portrait was compared with all photos but the one nearest to it. ``sharpness``
    is the mean of the faces', and ``diversity`` the mean angle between the portraits (radians), None for one portrait.
    """

    judge: PanelRow
    reporter: PanelRow | None
    copying: float | None
    dominant_photo: str
    held_out: tuple[str, ...]
    counts: PanelCounts
    sharpness: float | None = None
    diversity: float | None = None
    floor_of: FloorOf = FloorOf.BASE

    @property
    def word(self) -> PanelWord | None:
        """What the panel says. Where the embedders differ, the less flattering word counts."""
        if self.copying is not None and self.copying >= COPIES and self.dominant_photo:
            return PanelWord.COPY
        said = [row.word for row in (self.judge, self.reporter) if row is not None and row.word is not None]
        order = (PanelWord.TEMPLATE, PanelWord.RELATIVE, PanelWord.PERSON)
        return min(said, key=order.index) if said else None

    @property
    def proven(self) -> bool:
        """Whether the reporter, which chose nothing, saw a gain over the floor. Without a reporter no gain is proven,
        nor where nobody measured what the cosines of one of the two mean."""
        if self.reporter is None or not (self.reporter.measured and self.judge.measured):
            return False
        return self.reporter.way is not None and self.reporter.way >= GAINED

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data, as ``person.json`` and the training's last event carry it."""
        word = self.word
        return {
            "judge": self.judge.to_mapping(),
            "reporter": None if self.reporter is None else self.reporter.to_mapping(),
            "copying": _told(self.copying),
            "dominant_photo": self.dominant_photo,
            "held_out": list(self.held_out),
            "word": None if word is None else word.value,
            "proven": self.proven,
            "pictures": self.counts.pictures,
            "missing": self.counts.missing,
            "not_applicable": self.counts.not_applicable,
            "sharpness": _told(self.sharpness),
            "diversity": _told(self.diversity),
            "floor_of": self.floor_of.value,
        }


def nearest_mean(cosines: Sequence[float] | CosineTable) -> float:
    """Return the mean of the three highest of some cosines, or of all where there are fewer."""
    return float(np.mean(sorted((float(c) for c in cosines), reverse=True)[:NEAREST]))


def likeness_to(cosines: CosineTable, missing: int, calibration: Calibration) -> float | None:
    """Return the mean over the portraits of their likeness to the photos. Each of the ``missing`` faces counts as that
    of a stranger. None where there is neither a portrait nor a missing face."""
    found = [nearest_mean(row) for row in cosines] + [calibration.stranger_mean] * missing
    return float(np.mean(found)) if found else None


def ceiling(photos: CosineTable) -> float | None:
    """Return the mean likeness of a person's photos (n, n) to the other ones, each left out once; None for one
    photo."""
    others = [np.delete(row, i) for i, row in enumerate(photos)]
    return float(np.mean([nearest_mean(row) for row in others])) if len(others) > 1 else None


def without_nearest(cosines: CosineTable) -> CosineTable:
    """Return each row without its highest cosine: what is left when a portrait is not compared with the photo that it
    may have been copied from. A table of one column stays as it is."""
    if cosines.shape[1] < 2:
        return cosines
    return np.sort(cosines, axis=1)[:, :-1]


def copying(portraits: CosineTable, photos: CosineTable, training: int) -> float | None:
    """Return how much the portraits copy, from -1 to 1: the mean over them of the angle to the nearest held-out photo,
    less that to the nearest training photo, over the angle between these two.

    ``portraits`` has the shape (m, n) and ``photos`` (n, n); the first ``training`` of the n photos were trained on and
    the rest were held out. Without held-out photos, the training photo that comes second takes their place. None where
    there are not two photos to compare, or no portrait.
    """
    found = []
    for row in portraits:
        order = np.argsort(-row[:training])
        held_out = range(training, len(row)) if training < len(row) else [int(i) for i in order[1:2]]
        if not len(order) or not held_out:
            return None
        near, far = int(order[0]), max(held_out, key=lambda i: float(row[i]))
        between = float(angle(photos[near, far]))
        if between > 0:
            found.append(float(angle(row[far]) - angle(row[near])) / between)
    return float(np.clip(np.mean(found), -1, 1)) if found else None


def dominant(portraits: CosineTable) -> int | None:
    """Return the column of the photo that more than half of the portraits (m, n) lie nearest to; None where no photo
    is, or where there are fewer than two portraits or photos."""
    if portraits.shape[0] < 2 or portraits.shape[1] < 2:
        return None
    ((place, count),) = Counter(int(i) for i in portraits.argmax(1)).most_common(1)
    return place if 2 * count > len(portraits) else None


def diversity(portraits: CosineTable) -> float | None:
    """Return the mean angle, in radians, between all pairs of portraits (m, m); None for fewer than two."""
    first, second = np.triu_indices(len(portraits), 1)
    return float(np.mean(angle(portraits[first, second]))) if len(first) else None


def angle(cosine: Any) -> Any:
    """Return the angle of a cosine, or of an array of them, in radians."""
    return np.arccos(np.clip(cosine, -1.0, 1.0))


def _told(value: float | None) -> float | None:
    return None if value is None else rounded(value, 4)
