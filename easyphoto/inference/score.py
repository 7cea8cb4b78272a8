"""How alike a finished face and its person are."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from easyphoto import pictures
from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.filenames import shown
from easyphoto.inference import stages
from easyphoto.ports import Embedding, Face, Image, Likeness, Vision
from easyphoto.vision import geometry

log = logging.getLogger(__name__)

LOOK_RATIO = 3.0
"""The face is looked for in a square of so many times the size of the face that stood there."""


def main_face(image: Image, vision: Vision) -> Face | None:
    """The largest face of a picture, None when there is none."""
    return max(vision.detector.detect(image), key=lambda face: face.width * face.height, default=None)


def mean_embedding(photos: Sequence[Image], vision: Vision) -> Embedding | None:
    """The direction of the mean of the photos' embeddings, of length 1; None when no photo has a face."""
    found = ((photo, main_face(photo, vision)) for photo in photos)
    vectors = [vision.embedder.embed(photo, face) for photo, face in found if face is not None]
    if not vectors:
        return None
    mean = np.mean(np.stack(vectors), axis=0)
    unit: Embedding = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit


def remembered_mean(
    photos: Sequence[Path], memory: Path, vision: Vision, unread: Callable[[str], None] | None = None
) -> Embedding | None:
    """:func:`mean_embedding` of photo files, kept in the file ``memory`` for as long as photos and embedder stay.

    Photos that can't be read don't count; ``unread`` is told their names.
    """
    embedder = vision.backends().get("embedder", "")
    stats = [(path.name, path.stat()) for path in photos if path.is_file()]
    key = [embedder, *[[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]]
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        if kept["of"] == key:
            return np.array(kept["mean"], np.float32)
    except (OSError, ValueError, KeyError, TypeError):
        log.debug("no mean embedding is kept in %s", memory)
    images, damaged = [], []
    for path in photos:
        try:
            images.append(pictures.load(path))
        except InvalidRequest:
            damaged.append(shown(path.name))
            log.warning("a photo can't be read", exc_info=True)
    mean = mean_embedding(images, vision)
    for name in damaged:
        if unread is not None:
            unread(name)
    if mean is not None and not damaged:
        data = json.dumps({"of": key, "mean": [float(value) for value in mean]})
        try:
            pictures.write_bytes(memory, data.encode())
        except StorageFailed:
            log.warning("the mean embedding could not be kept in %s", memory, exc_info=True)
    return mean


def likeness(image: Image, where: Face, person: Embedding, vision: Vision) -> Likeness | None:
    """The likeness to ``person`` of the face that stands at ``where``; None when no face is found there."""
    crop = geometry.face_crop(where, LOOK_RATIO, (image.shape[0], image.shape[1]))
    part = geometry.cut(image, crop)
    face = stages.nearest(vision.detector.detect(part), geometry.in_crop(where, crop))
    if face is None:
        return None
    embedder = vision.embedder
    cosine = float(np.dot(embedder.embed(part, face), person))
    return Likeness(cosine, embedder.calibration.score(cosine), embedder.name)
