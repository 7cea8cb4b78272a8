"""The likeness panel of portraits: both embedders on each face that was made, and on the template's face before it.

No picture is drawn here and no face is looked for again. The floor of a portrait is therefore the face that its
template had, unless the user asked for the portrait to be drawn again without the person. What the embedders see of a
person's photos is kept in files: by the training, or else from the crops when the person is first portrayed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from easyphoto import pictures, reporting
from easyphoto.errors import StorageFailed
from easyphoto.inference.best_of import Trial
from easyphoto.inference.gallery import Gallery, Shot, main_face, stamp
from easyphoto.inference.score import JudgedFace
from easyphoto.inference.sitting import Sitting
from easyphoto.inference.studio import Sitter, Studio
from easyphoto.measures import onlookers
from easyphoto.measures.likeness_panel import FloorOf, LikenessPanel, PanelCounts
from easyphoto.measures.onlookers import PROFILE, Measured, Onlooker, PersonPhotos
from easyphoto.ports import Embedding, Face, Image, Vision
from easyphoto.reporting import FaceReporter, ReporterVector
from easyphoto.storage import files
from easyphoto.storage.folders import REFERENCE, SEEN_PHOTOS, WEIGHTS
from easyphoto.vision.sharpness import sharpness

log = logging.getLogger(__name__)

PortraitKey: TypeAlias = tuple[int, Trial]
"""By what a portrait is known while it is made: the index of its template, and what it is tried with."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """A face as both embedders describe it."""

    judged: Embedding
    reported: ReporterVector | None


@dataclass(frozen=True, eq=False)
class FloorFace:
    """The face that a portrait's likeness is told above, in the picture that it is ``seen`` in; None where that picture
    shows none."""

    seen: tuple[Image, Face] | None
    of: FloorOf


@dataclass(frozen=True, eq=False)
class _Note:
    """One face of ``user_id`` that was made or that is missing, what it has for a floor, and what it counts."""

    user_id: str
    counts: PanelCounts
    face: _Seen | None = None
    floor: _Seen | None = None
    before: FloorFace | None = None
    sharpness: float = 0.0


@dataclass(eq=False)
class _Page:
    """What was seen of the portraits of one person."""

    photos: PersonPhotos
    judge: Onlooker[Embedding]
    reporter: Onlooker[ReporterVector] | None
    notes: list[_Note] = field(default_factory=list)

    def panel(self, notes: Sequence[_Note]) -> LikenessPanel:
        """Return what is told of some notes together. The dominant photo of a single portrait is the one that it is
        nearest to."""
        counts = PanelCounts(
            sum(note.counts.pictures for note in notes),
            sum(note.counts.missing for note in notes),
            sum(note.counts.not_applicable for note in notes),
        )
        faces = [note.face for note in notes if note.face is not None]
        floor = [note.floor for note in notes if note.floor is not None]
        below = [note.before for note in notes if note.before is not None]
        photos, absent = self.photos, (counts.missing, sum(one.seen is None for one in below))
        judged = self.judge.measured(
            [f.judged for f in faces], [f.judged for f in floor], photos.judged, photos.trained, absent
        )
        reported: Measured | None = None
        if self.reporter is not None:
            portraits, before = _reported(faces), _reported(floor)
            reported = self.reporter.measured(portraits, before, photos.reported, photos.trained, absent)
        sharp = [note.sharpness for note in notes if note.face is not None]
        found = onlookers.panel(judged, reported, photos, counts, sharp)
        nearest = onlookers.nearest_photo(reported or judged, photos)
        of = FloorOf.BASE if any(one.of is FloorOf.BASE for one in below) else FloorOf.TEMPLATE
        return replace(found, dominant_photo=found.dominant_photo or nearest, floor_of=of)


class PanelBook:
    """What both embedders see of a job's portraits, a page for each person. A face is noted when its portrait is made,
    and counts when the portrait is kept."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}
        self._noted: dict[PortraitKey, list[_Note]] = {}
        self._before: tuple[Face, _Seen] | None = None

    def told(self) -> dict[str, Any]:
        """Return the panel of each person as plain JSON data, by user id."""
        return {name: page.panel(page.notes).to_mapping() for name, page in self._pages.items() if page.notes}

    def keep(self, portrait: PortraitKey) -> None:
        """Count the faces of a portrait, and forget those of others that were tried in its place."""
        for note in self._noted.get(portrait, ()):
            self._pages[note.user_id].notes.append(note)
        self._noted.clear()

    def add(
        self,
        studio: Studio,
        portrait: PortraitKey,
        sitting: Sitting,
        made: JudgedFace | None,
        before: FloorFace | None,
    ) -> LikenessPanel | None:
        """Note one face of a portrait: as it was ``made``, or that it is missing, above the floor ``before``, which may
        not be known. Return its panel, or None where there is no face, or nothing to compare it with."""
        page = self._page(studio, sitting.sitter)
        if page is None:
            return None
        note = self._note(page, sitting, made, before)
        self._noted.setdefault(portrait, []).append(note)
        return None if note.face is None else page.panel([note])

    def _note(self, page: _Page, sitting: Sitting, made: JudgedFace | None, before: FloorFace | None) -> _Note:
        name = sitting.sitter.subject.user_id
        if made is None and abs(sitting.head.yaw) >= PROFILE:
            return _Note(name, PanelCounts(1, not_applicable=1))
        floor = None if before is None or before.seen is None else self._floor(page, *before.seen)
        if made is None:
            return _Note(name, PanelCounts(1, missing=1), None, floor, before)
        same = made.likeness.embedder == page.judge.name
        judged = made.vector if same else page.judge.describe(made.part, made.face)
        reported = None if page.reporter is None else page.reporter.describe(made.part, made.face)
        return _Note(name, PanelCounts(1), _Seen(judged, reported), floor, before, sharpness(made.part, made.face))

    def _page(self, studio: Studio, sitter: Sitter) -> _Page | None:
        name = sitter.subject.user_id
        if name not in self._pages:
            embedder, reporter = studio.vision.embedder, reporting.of(studio.vision)
            photos = _photos(sitter, studio.vision, reporter)
            if photos is None:
                return None
            second = None if reporter is None else onlookers.second(reporter)
            self._pages[name] = _Page(photos, onlookers.judge(embedder), second)
        return self._pages[name]

    def _floor(self, page: _Page, image: Image, face: Face) -> _Seen:
        """A face of the floor. A template's own is described once for all portraits on it that follow one another."""
        if self._before is None or self._before[0] is not face:
            reported = None if page.reporter is None else page.reporter.describe(image, face)
            self._before = (face, _Seen(page.judge.describe(image, face), reported))
        return self._before[1]


def _reported(faces: Sequence[_Seen]) -> list[ReporterVector]:
    return [face.reported for face in faces if face.reported is not None]


def _photos(sitter: Sitter, vision: Vision, reporter: FaceReporter | None) -> PersonPhotos | None:
    """Return the person's photos as both embedders describe them; None where there are none."""
    names = vision.embedder.name, "" if reporter is None else reporter.name
    folder, gallery = sitter.subject.folder, sitter.sources.gallery
    if folder is not None and (kept := _kept(folder / WEIGHTS / SEEN_PHOTOS, names)) is not None:
        return kept
    if gallery is None or gallery.embedder != names[0]:
        return None
    shots = [shot for shot in gallery.shots if shot.path.name != REFERENCE] or list(gallery.shots)
    of = [[shot.path.name, *stamp(shot.path)] for shot in shots]
    memory = None if folder is None else folder / SEEN_PHOTOS
    if memory is not None and (kept := _kept(memory, names, of)) is not None:
        return kept
    found = _described(shots, gallery, vision, reporter)
    if found is not None and reporter is not None and memory is not None:
        _keep(found, memory, of)
    return found


def _described(
    shots: Sequence[Shot], gallery: Gallery, vision: Vision, reporter: FaceReporter | None
) -> PersonPhotos | None:
    """Look at the photos with the reporter. The judge has seen them."""
    reported = []
    if reporter is not None:
        for shot in shots:
            image = pictures.load(shot.path)
            face = main_face(image, vision)
            if face is None:
                return None
            reported.append(reporter.witness(image, face))
    return PersonPhotos(
        names=tuple(shot.path.name for shot in shots),
        trained=len(shots),
        judge=gallery.embedder,
        judged=tuple(shot.embedding for shot in shots),
        reporter="" if reporter is None else reporter.name,
        reported=tuple(reported),
    )


def _kept(path: Path, names: tuple[str, str], of: object = None) -> PersonPhotos | None:
    """Return what a file says that both embedders saw, where it is about the photos ``of``."""
    try:
        data = files.read_json(path)
        return PersonPhotos.from_mapping(data, *names) if data.get("of") == of else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        log.warning("what the photos show can't be read in %s", path, exc_info=True)
        return None


def _keep(found: PersonPhotos, memory: Path, of: object) -> None:
    """Keep what was seen of the photos ``of``. No folder is made: the person may have been deleted meanwhile."""
    try:
        files.write_bytes(memory, json.dumps({"of": of, **found.to_mapping()}).encode(), folders=False)
    except StorageFailed:
        log.warning("what the photos show could not be kept in %s", memory, exc_info=True)
