"""How many faces a picture shows, remembered for the next look."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from easyphoto.errors import StorageFailed
from easyphoto.storage import files


class FaceCounts:
    """The counts that were made, in one small file. A picture that has changed since then counts as not counted."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def known(self) -> Mapping[str, int]:
        """Return the counts by :func:`mark`. A damaged file holds none."""
        try:
            data: Any = files.read_json(self._file)
        except (OSError, ValueError):
            return {}
        rows = data.items() if isinstance(data, dict) else ()
        return {name: count for name, count in rows if isinstance(count, int)}

    def remember(self, counted: Mapping[str, int]) -> None:
        """Keep the counts of some pictures by :func:`mark`."""
        if counted:
            files.write_json(self._file, {**self.known(), **counted})

    def forget(self, place: Path) -> None:
        """Let go of the counts of a picture, or of all pictures in a folder. A disk that takes no change keeps them:
        they belong to nothing that is there any more."""
        known = self.known()
        left = {name: count for name, count in known.items() if place not in _places(name)}
        if len(left) < len(known):
            with contextlib.suppress(StorageFailed):
                files.write_json(self._file, left)


def mark(path: Path) -> str:
    """Return a text that changes with a picture's place, size and time of change; empty if it is gone."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{path}|{state.st_mtime_ns}|{state.st_size}"


def _places(name: str) -> tuple[Path, Path]:
    """Return the picture that a :func:`mark` is of, and its folder."""
    path = Path(name.rsplit("|", 2)[0])
    return path, path.parent
