"""What the program sees: pure functions on arrays, and the vision roles behind ports."""

from __future__ import annotations

from collections.abc import Sequence

from easyphoto.errors import InvalidRequest, VisionFailed
from easyphoto.ports import Embedding, Face, FaceEmbedder, Likeness, Vision


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box, None when there is none."""
    return max(faces, key=lambda face: face.width * face.height, default=None)


def likeness(embedder: FaceEmbedder, a: Embedding, b: Embedding) -> Likeness:
    """How alike two embeddings made by ``embedder`` are: the cosine, and its score by the embedder's calibration."""
    cosine = max(-1.0, min(1.0, float(a @ b)))
    return Likeness(cosine=cosine, score=embedder.calibration.score(cosine), embedder=embedder.name)


def embedder_named(vision: Vision, name: str) -> FaceEmbedder:
    """The embedder that made the vectors that are to be compared with. Another may serve by now, when weights came or
    went: their numbers mean nothing to each other. :class:`VisionFailed` when it can't be had any more."""
    embedder = vision.embedder
    if embedder.name == name:
        return embedder
    try:
        other = vision.preferring({"embedder": name}).embedder
    except InvalidRequest:
        other = embedder
    if other.name != name:
        raise VisionFailed(
            "Likeness was measured with {name} and {other} serves now: start again.", name=name, other=other.name
        )
    return other
