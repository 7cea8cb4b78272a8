"""What came of each portrait or training of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from easyphoto.errors import EasyPhotoError
from easyphoto.errors import of as kind_of
from easyphoto.messages import Message

OutcomeState = Literal["made", "there", "failed", "left"]
MADE: Final = "made"
THERE: Final = "there"
"""It was made before this batch began."""
FAILED: Final = "failed"
LEFT: Final = "left"
"""It is still to be made."""
STATES: tuple[OutcomeState, ...] = (MADE, THERE, FAILED, LEFT)


@dataclass(frozen=True)
class Outcome:
    """One line of the report. ``line`` is that of the table, 0 for a training; ``subject`` is who, ``on`` the template;
    ``likeness`` is on the scale from 0 to 1, one for each face that was made; ``picture`` is what is shown of it.
    ``words`` has what the likeness panel says of each of these faces, and the training photo that it lies nearest
    to."""

    line: int
    name: str
    subject: str
    on: str = ""
    state: OutcomeState = LEFT
    picture: Path | None = None
    likeness: tuple[float, ...] = ()
    embedder: str = ""
    seed: int | None = None
    code: str = ""
    message: str = ""
    words: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch: every outcome in the order of the table, and where the report lies."""

    folder: Path
    outcomes: tuple[Outcome, ...]
    report: Path
    csv: Path

    def count(self, state: OutcomeState) -> int:
        return sum(outcome.state == state for outcome in self.outcomes)

    def data(self) -> dict[str, Any]:
        """The counts as JSON data."""
        counts: dict[str, Any] = {state: self.count(state) for state in STATES}
        return {**counts, "folder": self.folder.name, "report": self.report.name, "csv": self.csv.name}

    def error(self) -> EasyPhotoError | None:
        """What a batch that came to its end failed with: an error of the kind of all failures, a plain one where they
        differ; None where there are none."""
        failed = [outcome for outcome in self.outcomes if outcome.state == FAILED]
        if not failed:
            return None
        codes = {outcome.code for outcome in failed}
        kind = kind_of(codes.pop()) if len(codes) == 1 else EasyPhotoError
        first = failed[0]
        where = Message("Line {line}", line=first.line) if first.line else first.subject
        return kind(
            "{count} of {total} failed; {where}: {message} {report} has all of them.",
            count=len(failed),
            total=len(self.outcomes),
            where=where,
            message=first.message,
            report=self.report.name,
        )


def likeness_in(recipe: Mapping[str, Any]) -> tuple[tuple[float, ...], str]:
    try:
        found = [one for one in recipe["likeness"] if one]
        scores = tuple(float(one["score"]) for one in found)
        return scores, str(found[0]["embedder"]) if found else ""
    except (KeyError, TypeError, ValueError):
        return (), ""


def words_in(recipe: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the likeness panel says of each face, and the training photo that the face lies nearest to."""
    try:
        told = [one for one in recipe["likeness"] if one and one.get("word")]
        return tuple((str(one["word"]), str(one.get("dominant_photo", ""))) for one in told)
    except (KeyError, TypeError, AttributeError):
        return ()


def picked(outcomes: Sequence[Outcome], state: OutcomeState) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.state == state]
