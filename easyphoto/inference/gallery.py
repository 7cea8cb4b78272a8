"""A person's photos as portraits need them: the embedding of each face, and where each head looks.

Looking at photos takes seconds. What was seen is therefore kept in a file of the person's folder, with the name of the
embedder that saw it, because vectors of two embedders are never compared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from easyphoto import pictures
from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.filenames import shown
from easyphoto.ports import Embedding, Face, Image, Vision
from easyphoto.storage import files
from easyphoto.vision import covering, eyewear, landmarks, largest
from easyphoto.vision.pose import Pose, pose_in

log = logging.getLogger(__name__)

Unread: TypeAlias = Callable[[str], None]

FORMAT = 3
SAME_SHOT = 0.95
"""Two photos whose embeddings have at least this cosine are the same shot, which was cut or tinted in two ways."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo with a face: the embedding of the face, where the head looks, how much lies before the cheeks and at
    their outline (:func:`easyphoto.vision.covering.clutter`), and whether the face wears glasses."""

    path: Path
    embedding: Embedding
    pose: Pose
    clutter: float = 0.0
    glasses: bool = False


@dataclass(frozen=True, eq=False)
class Gallery:
    """The photos of one person in which a face was found, as the embedder named ``embedder`` saw them."""

    embedder: str
    shots: tuple[Shot, ...]

    @property
    def mean(self) -> Embedding | None:
        """The mean of the embeddings, brought to length 1; None when there are no shots."""
        return unit_mean([shot.embedding for shot in self.shots])

    @property
    def median(self) -> float | None:
        """The median cosine of two shots, without pairs of the same shot; None where there are no two shots."""
        vectors = [shot.embedding for shot in self.shots]
        cosines = [float(np.dot(a, b)) for i, a in enumerate(vectors) for b in vectors[:i]]
        different = [cosine for cosine in cosines if cosine < SAME_SHOT]
        return float(np.median(different)) if different else None

    @property
    def mostly_glasses(self) -> bool:
        """Whether glasses belong to the person: most of the photos show them."""
        return 2 * sum(shot.glasses for shot in self.shots) > len(self.shots)

    def others(self, source: Embedding | None) -> list[Embedding]:
        """The embeddings of all shots except those that are the same shot as ``source``. Where that leaves none, the
        embeddings of all shots."""
        every = [shot.embedding for shot in self.shots]
        if source is None:
            return every
        return [vector for vector in every if float(np.dot(vector, source)) < SAME_SHOT] or every


def main_face(image: Image, vision: Vision) -> Face | None:
    """The largest face of a picture; None when the picture has no face."""
    return largest(vision.detector.detect(image))


def unit_mean(vectors: Sequence[Embedding]) -> Embedding | None:
    """The mean of ``vectors``, brought to length 1; None when there are no vectors."""
    if not vectors:
        return None
    mean = np.mean(np.stack(vectors), axis=0)
    unit: Embedding = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit


def measure(photos: Sequence[Path], vision: Vision, unread: Unread | None = None) -> Gallery:
    """Look at the files of photos. A photo without a face is left out. So is one that can't be read, whose name is
    given to ``unread``."""
    embedder, shots, damaged = vision.embedder, [], list[str]()
    name = embedder.name
    for path in photos:
        try:
            image = pictures.load(path)
        except InvalidRequest:
            log.warning("a photo can't be read", exc_info=True)
            damaged.append(shown(path.name))
            continue
        face = main_face(image, vision)
        if face is not None:
            points = landmarks.of(vision, image, face)
            seen = covering.clutter(image, points), eyewear.worn(image, points)
            shots.append(Shot(path, embedder.embed(image, face), pose_in(vision, image, face), *seen))
    if unread is not None:
        for one in damaged:
            unread(one)
    return Gallery(name, tuple(shots))


def remembered(photos: Sequence[Path], memory: Path, vision: Vision, unread: Unread | None = None) -> Gallery:
    """What :func:`measure` finds. It is kept in the file ``memory`` for as long as the photos and the embedder stay the
    same. Where a photo can't be read nothing is kept, so that the user hears of that photo each time."""
    # The embedder that serves now, not the one that would be chosen now: after a download the old model goes on serving
    # until its memory is freed.
    key = [vision.embedder.name, *[[path.name, *stamp(path)] for path in photos]]
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        if kept["format"] == FORMAT and kept["of"] == key:
            return _read(kept, photos)
    except (OSError, ValueError, KeyError, TypeError):
        log.debug("nothing of the photos is kept in %s", memory)
    damaged: list[str] = []
    found = measure(photos, vision, damaged.append)
    if unread is not None:
        for one in damaged:
            unread(one)
    if found.shots and not damaged and found.embedder == key[0]:
        try:
            # No folder is made, or something of a person who was deleted meanwhile would be left behind.
            files.write_bytes(memory, json.dumps(_written(found, key)).encode(), folders=False)
        except StorageFailed:
            log.warning("what the photos show could not be kept in %s", memory, exc_info=True)
    return found


def stamp(path: Path) -> list[int]:
    """Return what changes when a photo does: its size and the time of its last change; -1 each where it is gone."""
    try:
        found = path.stat()
    except OSError:  # a photo that is gone is left out and looked for again the next time
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]


def _written(found: Gallery, key: list[Any]) -> dict[str, Any]:
    shots = [
        {
            "name": shot.path.name,
            "embedding": [float(value) for value in shot.embedding],
            "pose": [shot.pose.yaw, shot.pose.pitch, shot.pose.roll],
            "clutter": shot.clutter,
            "glasses": shot.glasses,
        }
        for shot in found.shots
    ]
    return {"format": FORMAT, "of": key, "photos": shots}


def _read(kept: dict[str, Any], photos: Sequence[Path]) -> Gallery:
    paths = {path.name: path for path in photos}
    shots = [
        Shot(
            paths[one["name"]],
            np.array(one["embedding"], np.float32),
            Pose(*(float(v) for v in one["pose"])),
            float(one["clutter"]),
            bool(one["glasses"]),
        )
        for one in kept["photos"]
    ]
    return Gallery(str(kept["of"][0]), tuple(shots))
