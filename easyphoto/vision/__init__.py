"""What the program sees: pure functions on arrays, and the vision roles behind ports."""

from __future__ import annotations

from easyphoto.ports import Embedding, FaceEmbedder, Likeness


def likeness(embedder: FaceEmbedder, a: Embedding, b: Embedding) -> Likeness:
    """How alike two embeddings made by ``embedder`` are: the cosine, and its score by the embedder's calibration."""
    cosine = max(-1.0, min(1.0, float(a @ b)))
    return Likeness(cosine=cosine, score=embedder.calibration.score(cosine), embedder=embedder.name)
