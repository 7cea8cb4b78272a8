"""Folders that may not be there yet: the nearest one that is, and the room in it. Only the standard library is used."""

from __future__ import annotations

import shutil
from pathlib import Path


def nearest(folder: Path) -> Path | None:
    """``folder`` or the first above it that exists; None when nothing does, as on a drive that was taken out.

    A file counts, so that the caller sees what is in the way.
    """
    whole = folder.absolute()
    return next((there for there in (whole, *whole.parents) if _exists(there)), None)


def free_bytes(folder: Path) -> int | None:
    """The room on the drive of ``folder``, whether it is there yet or not; None when that drive isn't there."""
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
