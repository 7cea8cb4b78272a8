"""Folders that may not exist yet: the nearest one that does, and the room in it. Only the standard library is used."""

from __future__ import annotations

import shutil
from pathlib import Path


def nearest(folder: Path) -> Path | None:
    """Return ``folder``, or the first folder above it that exists; None when none does, as on a drive that was taken
    out.

    A file counts too, so that the caller sees what is in the way.
    """
    whole = folder.absolute()
    return next((there for there in (whole, *whole.parents) if _exists(there)), None)


def free_bytes(folder: Path) -> int | None:
    """Return how many bytes are free on the drive of ``folder``, whether the folder exists yet or not; None when that
    drive isn't there."""
    there = nearest(folder)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a folder that may not be looked into, a drive that doesn't answer
        return False
