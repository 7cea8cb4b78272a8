"""Reports on a training: how alike its pictures and the person are, by the judge that chose and by the reporter.

Nothing is rendered for it. The pictures are those of the validation: of the LoRA that was chosen, and of the base model
on the same templates.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from easyphoto import pictures, reporting
from easyphoto.errors import reason
from easyphoto.measures import onlookers
from easyphoto.measures.likeness_panel import LikenessPanel, PanelCounts
from easyphoto.measures.onlookers import PROFILE, PersonPhotos
from easyphoto.messages import Message
from easyphoto.ports import Face, Image, Vision
from easyphoto.storage import files
from easyphoto.storage.folders import SEEN_PHOTOS
from easyphoto.training import photos
from easyphoto.training.crops import Selection
from easyphoto.training.phase import Training
from easyphoto.training.photos import PhotoVerdict
from easyphoto.training.state import Score
from easyphoto.training.validation import ValidationTemplate
from easyphoto.vision import largest, pose, sharpness

log = logging.getLogger(__name__)


def panel(
    training: Training, selection: Selection, templates: Sequence[ValidationTemplate], score: Score, base: Score | None
) -> LikenessPanel | None:
    """Measure the pictures of ``score``, and of ``base`` as the floor. None, with a notice, when that fails: what was
    trained is never lost for a report."""
    try:
        found, shown = _measured(training, selection, templates, score, base)
        _keep(training, shown)
    # Whatever breaks in a report, a bug even, is not worth the hours of a training. The log has all of it.
    except Exception as error:
        log.warning("the likeness panel was left out", exc_info=True)
        training.notice(Message("The likeness panel was left out: {reason}.", reason=reason(error)))
        return None
    return found


def measure(
    training: Training, selection: Selection, templates: Sequence[ValidationTemplate], score: Score, base: Score | None
) -> LikenessPanel:
    """Measure as :func:`panel` does. Raises the errors of vision and of pictures that can't be read."""
    return _measured(training, selection, templates, score, base)[0]


def _measured(
    training: Training, selection: Selection, templates: Sequence[ValidationTemplate], score: Score, base: Score | None
) -> tuple[LikenessPanel, PersonPhotos]:
    """Return the panel, and the photos that it is about."""
    vision = training.vision
    made, floor = _look(score, templates, vision), _look(base, templates, vision)
    judge, shown = onlookers.judge(vision.embedder), _described(training, selection)
    missing = made.counts.missing, floor.counts.missing
    judged = judge.measured(
        [judge.describe(*face) for face in made.faces],
        [judge.describe(*face) for face in floor.faces],
        shown.judged,
        shown.trained,
        missing,
    )
    reporter, reported = reporting.of(vision), None
    if reporter is not None:
        second = onlookers.second(reporter)
        reported = second.measured(
            [second.describe(*face) for face in made.faces],
            [second.describe(*face) for face in floor.faces],
            shown.reported,
            shown.trained,
            missing,
        )
    return onlookers.panel(judged, reported, shown, made.counts, made.sharpness), shown


def _described(training: Training, selection: Selection) -> PersonPhotos:
    """Return the photos of the training as both embedders describe them."""
    vision, reporter = training.vision, reporting.of(training.vision)
    shown = [photo for photo in (*selection.training, *selection.held_out) if photo.embedding is not None]
    return PersonPhotos(
        names=tuple(photo.name for photo in shown),
        trained=len(shown) - sum(photo.embedding is not None for photo in selection.held_out),
        judge=vision.embedder.name,
        judged=tuple(photo.embedding for photo in shown if photo.embedding is not None),
        reporter="" if reporter is None else reporter.name,
        reported=() if reporter is None else tuple(reporter.witness(*photo_face(training, photo)) for photo in shown),
    )


def _keep(training: Training, shown: PersonPhotos) -> None:
    """Keep what the photos show beside the checkpoints, so that no portrait has to look at them again."""
    path = training.folder / SEEN_PHOTOS
    files.write_bytes(path, json.dumps(shown.to_mapping()).encode())
    training.attachments[SEEN_PHOTOS] = path


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The faces of some pictures, each with the picture that it is in."""

    faces: tuple[tuple[Image, Face], ...]
    counts: PanelCounts

    @property
    def sharpness(self) -> list[float]:
        return [sharpness.sharpness(image, face) for image, face in self.faces]


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
