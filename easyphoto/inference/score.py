"""How alike a finished face and the person are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from easyphoto.inference import stages
from easyphoto.ports import Embedding, Face, FaceEmbedder, Image, Likeness, Vision
from easyphoto.vision import detect_near, geometry

LOOK_RATIO = 3.0
"""The face is looked for in a square that is so many times as large as the face that stood there."""


def find(image: Image, where: Face, vision: Vision) -> tuple[Image, Face] | None:
    """The part of the picture around ``where``, and the face as it lies in that part; None when no face is found."""
    crop = geometry.face_crop(where, LOOK_RATIO, (image.shape[0], image.shape[1]))
    part = geometry.cut(image, crop)
    expected = geometry.in_crop(where, crop)
    face = stages.nearest(detect_near(vision.detector, part, expected), expected)
    return None if face is None else (part, face)


@dataclass(frozen=True, eq=False)
class JudgedFace:
    """A finished face in its ``part`` of the picture, as the judge described it, and how alike it is to the person."""

    part: Image
    face: Face
    vector: Embedding
    likeness: Likeness


def judge(part: Image, face: Face, person: Sequence[Embedding], embedder: FaceEmbedder) -> JudgedFace:
    """The mean likeness of a face to the vectors ``person``, which ``embedder`` made of photos of a person."""
    vector = embedder.embed(part, face)
    cosine = float(np.mean([float(np.dot(vector, photo)) for photo in person]))
    return JudgedFace(part, face, vector, Likeness(cosine, embedder.calibration.score(cosine), embedder.name))


def compare(image: Image, face: Face, person: Sequence[Embedding], embedder: FaceEmbedder) -> Likeness:
    """How alike :func:`judge` finds a face."""
    return judge(image, face, person, embedder).likeness
