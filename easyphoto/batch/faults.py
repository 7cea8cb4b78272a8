"""What is wrong with the rows of a table, and how it is gathered: every fault once, none of them the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.filenames import shown
from easyphoto.messages import Message

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

LONGEST = 60
"""Characters of a value that a sentence repeats."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row, as one sentence; ``line`` is that of the row's beginning, from 1. 0: it has no line,
    and its sentence says what it is about."""

    line: int
    message: str

    def sentence(self) -> str:
        if not self.line:
            return self.message
        return Message("Line {line}: {message}", line=self.line, message=self.message)


class WrongRows(InvalidRequest):
    """A table of which nothing was begun, for the ``faults`` of its rows."""

    def __init__(self, name: str, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        lines = len({fault.line or fault.message for fault in self.faults})
        super().__init__("Nothing was begun; wrong rows in {name}: {count}.", count=lines, name=name)


def shortened(text: str) -> str:
    """A text of a table as a sentence repeats it."""
    plain = shown(text)
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}..."


class Wrong(list[str]):
    """The sentences about what is wrong with one row."""

    def unless(self, work: Callable[..., T], *given: Any) -> T | None:
        """What ``work`` gives; None, and its sentence added, where it refuses."""
        try:
            return work(*given)
        except EasyPhotoError as error:
            self.append(error.message)
            return None


class Once(Generic[K, V]):
    """A function whose answers and refusals are remembered."""

    def __init__(self, work: Callable[[K], V]) -> None:
        self._work = work
        self._known: dict[K, V | EasyPhotoError] = {}

    def __call__(self, key: K) -> V:
        if key not in self._known:
            try:
                self._known[key] = self._work(key)
            except EasyPhotoError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, EasyPhotoError):
            raise known.with_traceback(None)  # which would grow with every row
        return known
