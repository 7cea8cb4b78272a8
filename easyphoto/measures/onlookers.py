"""The judge and the reporter as they look at portraits: what each makes of faces and photos, and the panel of both.

Neither can stand in for the other: what a judge made is an array, and what a reporter made is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from easyphoto.measures import likeness_panel
from easyphoto.measures.likeness_panel import CosineTable, LikenessPanel, PanelCounts, PanelRow
from easyphoto.ports import Calibration, Embedding, Face, FaceEmbedder, Image
from easyphoto.reporting import FaceReporter, ReporterVector

LEAVE_ONE_OUT = 8
"""With fewer photos than this, what was held out is too little to measure on: each portrait is compared with all photos
but the one that it is nearest to."""
PROFILE = 60.0
"""From so many degrees of yaw on, a template's face is in profile, where no detector is expected to find one."""

V = TypeVar("V", Embedding, ReporterVector)


@dataclass(frozen=True, eq=False)
class PersonPhotos:
    """The photos of a person as both embedders described them, row by row. The first ``trained`` were trained on and
    the rest were held out. ``reporter`` and ``reported`` are empty without a reporter."""

    names: tuple[str, ...]
    trained: int
    judge: str
    judged: tuple[Embedding, ...]
    reporter: str = ""
    reported: tuple[ReporterVector, ...] = ()

    @property
    def held_out(self) -> tuple[str, ...]:
        """The photos that likeness is measured on; none where each portrait leaves one out instead."""
        return self.names[self.trained :] if len(self.names) >= LEAVE_ONE_OUT else ()

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data."""
        told = [{"name": name, "trained": i < self.trained} for i, name in enumerate(self.names)]
        vectors = {self.judge: [vector.tolist() for vector in self.judged]}
        if self.reporter:
            vectors[self.reporter] = [vector.numbers.tolist() for vector in self.reported]
        return {"photos": told, "vectors": vectors}

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], judge: str, reporter: str) -> PersonPhotos | None:
        """Return what :meth:`to_mapping` told of these two embedders; None where one of them saw no photos. Raises
        KeyError, TypeError and ValueError for other data."""
        vectors, photos = data["vectors"], data["photos"]
        if judge not in vectors or (reporter and reporter not in vectors):
            return None
        rows = {name: np.array(vectors[name], np.float32) for name in (judge, reporter) if name}
        if any(len(row) != len(photos) for row in rows.values()):
            raise ValueError("not one vector for each photo")
        return cls(
            names=tuple(str(photo["name"]) for photo in photos),
            trained=sum(bool(photo["trained"]) for photo in photos),
            judge=judge,
            judged=tuple(rows[judge]),
            reporter=reporter,
            reported=tuple(ReporterVector(row, reporter) for row in rows[reporter]) if reporter else (),
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """The row of one embedder, and the cosines that it comes from: portraits to photos, photos to photos, portraits to
    portraits."""

    row: PanelRow
    portraits: CosineTable
    photos: CosineTable
    among: CosineTable


@dataclass(frozen=True, eq=False)
class Onlooker(Generic[V]):
    """One embedder, judge or reporter: how it describes a face, and compares two descriptions."""

    name: str
    calibration: Calibration
    describe: Callable[[Image, Face], V]
    compare: Callable[[V, V], float]

    def measured(
        self, portraits: Sequence[V], floor: Sequence[V], shown: Sequence[V], trained: int, missing: tuple[int, int]
    ) -> Measured:
        """Compare portraits, and the faces of the floor, with the photos that are ``shown``, of which the first
        ``trained`` were trained on. ``missing`` counts the faces that either lacks."""
        own, base = self.table(portraits, shown), self.table(floor, shown)
        photos = self.table(shown, shown)
        row = PanelRow(
            embedder=self.name,
            value=likeness_panel.likeness_to(unseen(own, trained), missing[0], self.calibration),
            floor=likeness_panel.likeness_to(unseen(base, trained), missing[1], self.calibration),
            ceiling=likeness_panel.ceiling(photos),
            threshold=self.calibration.threshold,
            measured=self.calibration.measured,
        )
        return Measured(row, own, photos, self.table(portraits, portraits))

    def table(self, rows: Sequence[V], columns: Sequence[V]) -> CosineTable:
        """Return the cosines of some descriptions, a row each, to others, a column each."""
        found = [[self.compare(row, column) for column in columns] for row in rows]
        return np.array(found, np.float64).reshape(len(rows), len(columns))


def judge(embedder: FaceEmbedder) -> Onlooker[Embedding]:
    """The judge as an onlooker."""
    return Onlooker(embedder.name, embedder.calibration, embedder.embed, _judged)


def second(reporter: FaceReporter) -> Onlooker[ReporterVector]:
    """The reporter as an onlooker."""
    return Onlooker(reporter.name, reporter.calibration, reporter.witness, ReporterVector.cosine)


def panel(
    judged: Measured, reported: Measured | None, photos: PersonPhotos, counts: PanelCounts, sharpness: Sequence[float]
) -> LikenessPanel:
    """Put together what both saw. What is copied is told by the reporter where there is one. ``sharpness`` is that of
    each face."""
    best, cut = judged if reported is None else reported, photos.trained
    place = likeness_panel.dominant(best.portraits[:, :cut])
    return LikenessPanel(
        judge=judged.row,
        reporter=None if reported is None else reported.row,
        copying=likeness_panel.copying(best.portraits, best.photos, cut),
        dominant_photo="" if place is None else photos.names[place],
        held_out=photos.held_out,
        counts=counts,
        sharpness=float(np.mean(sharpness)) if len(sharpness) else None,
        diversity=likeness_panel.diversity(best.among),
    )


def nearest_photo(seen: Measured, photos: PersonPhotos) -> str:
    """Return the training photo that one portrait lies nearest to; empty where there is no choice."""
    if len(seen.portraits) != 1 or photos.trained < 2:
        return ""
    return photos.names[int(seen.portraits[0, : photos.trained].argmax())]


def unseen(cosines: CosineTable, trained: int) -> CosineTable:
    """Return what a portrait is compared with: the held-out photos, or all but the nearest one."""
    if cosines.shape[1] >= LEAVE_ONE_OUT and trained < cosines.shape[1]:
        return cosines[:, trained:]
    return likeness_panel.without_nearest(cosines)


def _judged(a: Embedding, b: Embedding) -> float:
    return float(np.dot(a, b))
