"""How alike a finished face and its person are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from easyphoto.inference import gallery, stages
from easyphoto.inference.gallery import main_face, unit_mean
from easyphoto.ports import Embedding, Face, FaceEmbedder, Image, Likeness, Vision
from easyphoto.vision import geometry

LOOK_RATIO = 3.0
"""The face is looked for in a square of so many times the size of the face that stood there."""


def mean_embedding(photos: Sequence[Image], vision: Vision) -> Embedding | None:
    """The direction of the mean of the photos' embeddings, of length 1; None when no photo has a face."""
    found = ((photo, main_face(photo, vision)) for photo in photos)
    vectors = [vision.embedder.embed(photo, face) for photo, face in found if face is not None]
    return unit_mean(vectors)


def remembered_mean(
    photos: Sequence[Path], memory: Path, vision: Vision, unread: Callable[[str], None] | None = None
) -> Embedding | None:
    """:func:`mean_embedding` of photo files, kept in the file ``memory`` for as long as photos and embedder stay.

    Photos that can't be read don't count; ``unread`` is told their names.
    """
    return gallery.remembered(photos, memory, vision, unread).mean


def likeness(image: Image, where: Face, person: Embedding, vision: Vision) -> Likeness | None:
    """The likeness to ``person`` of the face that stands at ``where``; None when no face is found there."""
    seen = find(image, where, vision)
    return None if seen is None else compare(*seen, [person], vision.embedder)


def find(image: Image, where: Face, vision: Vision) -> tuple[Image, Face] | None:
    """The part of the picture around ``where`` and the face that stands there, in the part; None when there is none."""
    crop = geometry.face_crop(where, LOOK_RATIO, (image.shape[0], image.shape[1]))
    part = geometry.cut(image, crop)
    face = stages.nearest(vision.detector.detect(part), geometry.in_crop(where, crop))
    return None if face is None else (part, face)


def compare(image: Image, face: Face, person: Sequence[Embedding], judge: FaceEmbedder) -> Likeness:
    """The mean likeness of a face to vectors that ``judge`` made of photos of a person."""
    vector = judge.embed(image, face)
    cosine = float(np.mean([float(np.dot(vector, photo)) for photo in person]))
    return Likeness(cosine, judge.calibration.score(cosine), judge.name)
