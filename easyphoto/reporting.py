"""The reporter: a second embedder, which tells how alike faces are and has no part in any choice.

Whoever chooses by a number raises that number, whether or not the faces become more alike. What chooses is therefore
the judge (:class:`easyphoto.ports.FaceEmbedder`), and gains are believed when the reporter sees them too. The two are
kept apart by their types: a reporter has no ``embed``, and its vectors are no arrays, so that neither fits where the
other is asked for. The modules that choose may not import this one, which ``lint-imports`` checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from easyphoto.ports import Calibration, Embedding, Face, Image, Vision


@dataclass(frozen=True, eq=False)
class ReporterVector:
    """What the reporter of that name made of one face: numbers of length 1 that only its own vectors can be compared
    with."""

    numbers: Embedding
    reporter: str

    def cosine(self, other: ReporterVector) -> float:
        """The cosine of the two faces. Raises ValueError for the vector of another reporter."""
        if other.reporter != self.reporter:
            raise ValueError(f"vectors of {self.reporter} and {other.reporter} mean nothing to each other")
        return max(-1.0, min(1.0, float(self.numbers @ other.numbers)))


class FaceReporter(Protocol):
    name: str

    @property
    def calibration(self) -> Calibration:
        """What the reporter's cosines mean."""
        ...

    def witness(self, image: Image, face: Face) -> ReporterVector:
        """What the reporter makes of a face. It is no vector of a judge."""
        ...


@runtime_checkable
class HasReporter(Protocol):
    """Vision that may have a reporter beside its roles."""

    @property
    def reporter(self) -> FaceReporter | None:
        """The reporter, or None where none can be had. It is never the embedder that serves as the judge."""
        ...


def of(vision: Vision) -> FaceReporter | None:
    """The reporter of ``vision``, or None where it has none."""
    return vision.reporter if isinstance(vision, HasReporter) else None
