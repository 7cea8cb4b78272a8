"""What the program sees: pure functions on arrays, and the vision roles behind ports."""

from __future__ import annotations

from collections.abc import Sequence

from easyphoto.errors import InvalidRequest, VisionFailed
from easyphoto.ports import Embedding, Face, FaceDetector, FaceEmbedder, Image, Likeness, Vision


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box; None when there are no faces."""
    return max(faces, key=lambda face: face.width * face.height, default=None)


def detect_near(detector: FaceDetector, image: Image, expected: Face) -> list[Face]:
    """What the detector finds where ``expected`` stands: the same face as in :meth:`FaceDetector.detect`, and perhaps
    others. A detector may find one face in less time than all, and then has a method of this name."""
    look = getattr(detector, "detect_near", None)
    faces: list[Face] = detector.detect(image) if look is None else look(image, expected)
    return faces


def likeness(embedder: FaceEmbedder, a: Embedding, b: Embedding) -> Likeness:
    """How alike two embeddings are that ``embedder`` made: their cosine, and its score by the embedder's
    calibration."""
    cosine = max(-1.0, min(1.0, float(a @ b)))
    return Likeness(cosine=cosine, score=embedder.calibration.score(cosine), embedder=embedder.name)


def embedder_named(vision: Vision, name: str) -> FaceEmbedder:
    """The embedder of that name, which made the vectors with which something is to be compared. Another embedder may
    serve by now, because weights were added or removed, and the vectors of two embedders mean nothing to each other.
    Raises :class:`VisionFailed` when the embedder can't be had any more."""
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
