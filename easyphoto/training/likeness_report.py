"""Reports on a training: how alike its pictures and the person are, by the judge that chose and by the reporter.

Nothing is rendered for it. The pictures are those of the validation: of the LoRA that was chosen, and of the base model
on the same templates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from easyphoto import pictures, reporting
from easyphoto.errors import reason
from easyphoto.measures import likeness_panel
from easyphoto.measures.likeness_panel import CosineTable, LikenessPanel, PanelCounts, PanelRow
from easyphoto.messages import Message
from easyphoto.ports import Calibration, Embedding, Face, Image, Vision
from easyphoto.reporting import ReporterVector
from easyphoto.training import photos
from easyphoto.training.crops import Selection
from easyphoto.training.phase import Training
from easyphoto.training.photos import PhotoVerdict
from easyphoto.training.state import Score
from easyphoto.training.validation import ValidationTemplate
from easyphoto.vision import largest, pose, sharpness

log = logging.getLogger(__name__)

LEAVE_ONE_OUT = 8
"""With fewer photos than this, what was held out is too little to measure on: each portrait is compared with all photos
but the one that it is nearest to."""
PROFILE = 60.0
"""From so many degrees of yaw on, a template's face is in profile, where no detector is expected to find one."""

V = TypeVar("V")


def panel(
    training: Training, selection: Selection, templates: Sequence[ValidationTemplate], score: Score, base: Score | None
) -> LikenessPanel | None:
    """Measure the pictures of ``score``, and of ``base`` as the floor. None, with a notice, when that fails: what was
    trained is never lost for a report."""
    try:
        return measure(training, selection, templates, score, base)
    # Whatever breaks in a report, a bug even, is not worth the hours of a training. The log has all of it.
    except Exception as error:
        log.warning("the likeness panel was left out", exc_info=True)
        training.notice(Message("The likeness panel was left out: {reason}.", reason=reason(error)))
        return None


def measure(
    training: Training, selection: Selection, templates: Sequence[ValidationTemplate], score: Score, base: Score | None
) -> LikenessPanel:
    """Measure as :func:`panel` does. Raises the errors of vision and of pictures that can't be read."""
    vision = training.vision
    made, floor = _look(score, templates, vision), _look(base, templates, vision)
    shown = [photo for photo in (*selection.training, *selection.held_out) if photo.embedding is not None]
    cut = len(shown) - sum(photo.embedding is not None for photo in selection.held_out)
    judge = _Witness(vision.embedder.name, vision.embedder.calibration, vision.embedder.embed, _judged)
    judged = judge.measured([photo.embedding for photo in shown if photo.embedding is not None], made, floor, cut)
    reporter, reported = reporting.of(vision), None
    if reporter is not None:
        second = _Witness(reporter.name, reporter.calibration, reporter.witness, _reported)
        reported = second.measured([reporter.witness(*photo_face(training, p)) for p in shown], made, floor, cut)
    best = judged if reported is None else reported
    place = likeness_panel.dominant(best.portraits[:, :cut])
    return LikenessPanel(
        judge=judged.row,
        reporter=None if reported is None else reported.row,
        copying=likeness_panel.copying(best.portraits, best.photos, cut),
        dominant_photo="" if place is None else shown[place].name,
        held_out=tuple(photo.name for photo in shown[cut:]) if len(shown) >= LEAVE_ONE_OUT else (),
        counts=made.counts,
        sharpness=made.sharpness,
        diversity=likeness_panel.diversity(best.among),
    )


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The faces of some pictures, each with the picture that it is in."""

    faces: tuple[tuple[Image, Face], ...]
    counts: PanelCounts

    @property
    def sharpness(self) -> float | None:
        found = [sharpness.sharpness(image, face) for image, face in self.faces]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True, eq=False)
class _Measured:
    """The row of one embedder, and the cosines that it comes from: portraits to photos, photos to photos, portraits to
    portraits."""

    row: PanelRow
    portraits: CosineTable
    photos: CosineTable
    among: CosineTable


@dataclass(frozen=True, eq=False)
class _Witness(Generic[V]):
    """One embedder, judge or reporter: how it describes a face, and compares two descriptions."""

    name: str
    calibration: Calibration
    describe: Callable[[Image, Face], V]
    compare: Callable[[V, V], float]

    def measured(self, shown: Sequence[V], made: _Pictures, floor: _Pictures, cut: int) -> _Measured:
        """Compare the pictures of the LoRA, and those of the base model, with the photos. ``shown`` are the photos as
        the embedder describes them, of which the first ``cut`` were trained on and the rest were held out."""
        vectors = [self.describe(*face) for face in made.faces]
        portraits, own = self._table(vectors, shown), self._table(shown, shown)
        base = self._table([self.describe(*face) for face in floor.faces], shown)
        row = PanelRow(
            embedder=self.name,
            value=likeness_panel.likeness_to(unseen(portraits, cut), made.counts.missing, self.calibration),
            floor=likeness_panel.likeness_to(unseen(base, cut), floor.counts.missing, self.calibration),
            ceiling=likeness_panel.ceiling(own),
            threshold=self.calibration.threshold,
        )
        return _Measured(row, portraits, own, self._table(vectors, vectors))

    def _table(self, rows: Sequence[V], columns: Sequence[V]) -> CosineTable:
        found = [[self.compare(row, column) for column in columns] for row in rows]
        return np.array(found, np.float64).reshape(len(rows), len(columns))


def unseen(cosines: CosineTable, cut: int) -> CosineTable:
    """Return what a portrait is compared with: the last columns, those of the held-out photos, or all but the nearest
    one where there are few photos."""
    if cosines.shape[1] >= LEAVE_ONE_OUT and cut < cosines.shape[1]:
        return cosines[:, cut:]
    return likeness_panel.without_nearest(cosines)


def _judged(a: Embedding, b: Embedding) -> float:
    return float(np.dot(a, b))


def _reported(a: ReporterVector, b: ReporterVector) -> float:
    return a.cosine(b)


def _look(score: Score | None, templates: Sequence[ValidationTemplate], vision: Vision) -> _Pictures:
    """Find the largest face of each picture of a score that was written. Only where there is none, its template is
    looked at too."""
    faces, missing, beside = [], 0, 0
    paths = [] if score is None else [(p, t) for p, t in zip(score.pictures, templates, strict=False) if p]
    for path, template in paths:
        image = pictures.load(Path(path))
        face = largest(vision.detector.detect(image))
        if face is not None:
            faces.append((image, face))
        elif _in_profile(template.image, vision):
            beside += 1
        else:
            missing += 1
    return _Pictures(tuple(faces), PanelCounts(len(paths), missing, beside))


def _in_profile(template: Image, vision: Vision) -> bool:
    face = largest(vision.detector.detect(template))
    return face is not None and abs(pose.pose(face).yaw) >= PROFILE


def photo_face(training: Training, photo: PhotoVerdict) -> tuple[Image, Face]:
    """Return a photo, read again, and the face of the person in it."""
    assert photo.face is not None
    paths = dict(training.spec.named_photos)
    image = pictures.load(paths[photo.name], max_area=pictures.PHOTO_AREA, name=photo.name)
    return photos.upright(image, photo), photo.face
