"""How many faces a picture shows, remembered for the next look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def mark(path: Path) -> str:
    """Return a text that changes with a picture's place, size and time of change; empty if it is gone."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{path}|{state.st_mtime_ns}|{state.st_size}"
