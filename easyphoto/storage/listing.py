"""The files below a folder in which others make and remove files at the same time."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def below(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files at any depth below ``folder`` whose names fit ``pattern``, in the order of their paths.

    A folder that isn't there, that vanishes while it is looked through, or that can't be read has none.
    :meth:`pathlib.Path.rglob` ends with an error where a folder vanishes.
    """
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in fnmatch.filter(names, pattern))


def size(files: Iterable[Path]) -> int:
    """Return how many bytes the files have together; one that isn't there any more has none."""
    return sum(facts.st_size for facts in _facts(files))


def newest(files: Iterable[Path]) -> float:
    """Return when the file that was changed last was changed, in seconds since the epoch; 0 where none is there."""
    return max((facts.st_mtime for facts in _facts(files)), default=0.0)


def _facts(files: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in files:
        with contextlib.suppress(OSError):
            yield path.stat()
