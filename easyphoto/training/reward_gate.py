"""The gate of the reward: whether what it taught is kept. The reporter says so, which taught nothing.

Faces are painted into templates that neither the training nor the reward has seen, at fixed seeds, with the small LoRA
and without it. This is the one place where a reporter decides anything, and it decides one thing once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from easyphoto.measures import likeness_panel, onlookers
from easyphoto.measures.likeness_panel import CosineTable
from easyphoto.messages import Message, joined
from easyphoto.ports import Image, Vision
from easyphoto.reporting import FaceReporter, ReporterVector
from easyphoto.vision import largest, sharpness

TOLERANCE = 0.02
"""By so much, detection, sharpness, diversity and copying may be worse."""
SURE = 0.95
GUARDS = ("found", "sharpness", "diversity", "copying")


@dataclass(frozen=True)
class GateSide:
    """What the reporter saw in the pictures of one LoRA: the mean likeness on each template, and over all pictures the
    share in which a face was ``found``, the mean ``sharpness`` of the faces, the ``diversity`` and the ``copying`` of
    :class:`easyphoto.measures.likeness_panel.LikenessPanel`."""

    likeness: tuple[float, ...]
    found: float
    sharpness: float
    diversity: float | None
    copying: float | None


@dataclass(frozen=True)
class GateVerdict:
    """Whether the reward is kept. ``gain`` is the mean gain in likeness by the reporter, with its 95% ``interval``.
    ``why`` is one sentence on what spoke against it; it is empty when nothing did. ``guards`` are what else was
    compared, by its name in :class:`GateSide`: without the reward and with it."""

    gain: float
    interval: tuple[float, float]
    why: str
    guards: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        return not self.why


@dataclass(frozen=True, eq=False)
class GateWitness:
    """The reporter, and what it makes of the person's photos, of which the first ``cut`` were trained on."""

    reporter: FaceReporter
    photos: Sequence[ReporterVector]
    cut: int

    @property
    def diversity(self) -> float | None:
        """How far the photos lie from one another."""
        return likeness_panel.diversity(_table(self.photos, self.photos))

    def see(self, pictures: Sequence[Sequence[Image]], vision: Vision) -> GateSide:
        """Look at the pictures of each template."""
        means, vectors, sharp = [], [], []
        for row in pictures:
            values = []
            for image in row:
                face = largest(vision.detector.detect(image))
                if face is None:
                    values.append(self.reporter.calibration.stranger_mean)
                    continue
                vectors.append(self.reporter.witness(image, face))
                sharp.append(sharpness.sharpness(image, face))
                cosines = onlookers.unseen(_table(vectors[-1:], self.photos), self.cut)
                values.append(likeness_panel.nearest_mean(cosines[0]))
            means.append(float(np.mean(values)))
        count = sum(len(row) for row in pictures)
        own = _table(self.photos, self.photos)
        return GateSide(
            likeness=tuple(means),
            found=len(vectors) / count,
            sharpness=float(np.mean(sharp)) if sharp else 0.0,
            diversity=likeness_panel.diversity(_table(vectors, vectors)),
            copying=likeness_panel.copying(_table(vectors, self.photos), own, self.cut),
        )


def decide(before: GateSide, after: GateSide, photos: float | None) -> GateVerdict:
    """Compare the pictures with and without what the reward taught. ``photos`` is how far the person's photos lie from
    one another: pictures that all become more like one person become more alike, and may until they are as alike as the
    photos."""
    gains = np.array(after.likeness) - np.array(before.likeness)
    gain, interval = float(gains.mean()), _interval(gains)
    guards = {name: (getattr(before, name), getattr(after, name)) for name in GUARDS}
    words = _likeness_words(gain, interval)
    if interval[0] <= 0:
        return GateVerdict(gain, interval, Message("the likeness did not rise for sure ({words})", words=words), guards)
    spread = [value for value in (before.diversity, photos) if value is not None]
    rarer = after.found < before.found - TOLERANCE
    duller = after.sharpness < before.sharpness * (1 - TOLERANCE)
    alike = bool(spread) and after.diversity is not None and after.diversity < min(spread) * (1 - TOLERANCE)
    copied = None not in guards["copying"] and (after.copying or 0.0) > (before.copying or 0.0) + TOLERANCE
    worse = {
        Message("faces were found less often ({change})", change=_change(guards["found"])): rarer,
        Message("the faces lost sharpness ({change})", change=_change(guards["sharpness"], 0)): duller,
        Message("the pictures became too alike ({change})", change=_change(guards["diversity"])): alike,
        Message("the pictures copy a photo more ({change})", change=_change(guards["copying"])): copied,
    }
    said = [words for words, holds in worse.items() if holds]
    return GateVerdict(gain, interval, joined(said) if said else "", guards)


def _interval(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """The 95% interval of the mean gain over the templates, by Student's t. The seeds of a template count as one: they
    show one face in one place."""
    if len(gains) < 2:
        return -math.inf, math.inf
    half = float(stats.t.ppf((1 + SURE) / 2, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains)))
    mean = float(gains.mean())
    return mean - half, mean + half


def _change(values: tuple[float | None, float | None], places: int = 2) -> str:
    return " → ".join("?" if value is None else f"{value:.{places}f}" for value in values)


def _likeness_words(gain: float, interval: tuple[float, float]) -> str:
    return f"{gain:+.3f}, {interval[0]:+.3f}…{interval[1]:+.3f}"


def _table(rows: Sequence[ReporterVector], columns: Sequence[ReporterVector]) -> CosineTable:
    found = [[row.cosine(column) for column in columns] for row in rows]
    return np.array(found, np.float64).reshape(len(rows), len(columns))
