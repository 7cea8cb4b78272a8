"""Looking into folders in which a program works meanwhile."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def contents(folder: Path) -> dict[Path, bytes]:
    """What lies in the files below a folder, by their paths. A file that goes away meanwhile is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.read_bytes()
    return found
