"""Folders that are removed with the process that made them, also when that process was killed.

Beside each folder lies a file that its owner holds locked. Whoever finds such a folder unlocked knows that its owner
has ended.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
import uuid
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from easyphoto.errors import StorageFailed
from easyphoto.storage.locks import acquire, is_held

_log = logging.getLogger(__name__)
_LOCK = ".lock"
_YOUNG = 60.0
"""How many seconds old a lock without a folder must be until nobody can be about to make its folder."""


class Scratch:
    """A new folder under ``parent``, called ``prefix`` and a random name, that only its owner can read. :meth:`close`
    removes it.

    Raises :class:`StorageFailed` when the folder can't be made.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        self.path = parent / f"{prefix}{uuid.uuid4().hex[:16]}"
        self._lock = FileLock(lock_of(self.path), thread_local=False)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            # Locked before it is there: a folder that is there and unlocked is nobody's.
            acquire(self._lock, 5)
            self.path.mkdir(mode=0o700)
        except (OSError, Timeout) as error:
            self.close()
            reason = getattr(error, "strerror", None) or error
            raise StorageFailed(
                "A folder could not be made in {parent}: {reason}.", parent=parent.name, reason=reason
            ) from error

    def close(self) -> None:
        """Remove the folder, unless it was moved away, and release the lock. You may call this more than once."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release(force=True)
        with contextlib.suppress(OSError):
            lock_of(self.path).unlink()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_of(folder: Path) -> Path:
    """Return the file that the owner of ``folder`` holds locked."""
    return folder.with_name(folder.name + _LOCK)


def abandoned(parent: Path, prefix: str) -> list[Path]:
    """Return the folders whose owners have ended."""
    return [folder for folder in _folders(parent, prefix) if _is_nobodys(folder)]


def living(parent: Path, prefix: str) -> bool:
    """Return whether anybody, in this process or another, owns such a folder now."""
    return any(not _is_nobodys(folder) for folder in _folders(parent, prefix))


def _folders(parent: Path, prefix: str) -> list[Path]:
    try:
        return sorted(p for p in parent.iterdir() if p.name.startswith(prefix) and _is_folder(p))
    except OSError:
        return []


def sweep(parent: Path, prefix: str) -> None:
    """Remove the folders whose owners have ended. A folder that can't be removed stays until the next time."""
    for folder in abandoned(parent, prefix):
        _log.info("removing %s, whose process is gone", folder.name)
        discard(folder)
    for lock in _left_locks(parent, prefix):
        with contextlib.suppress(OSError):
            lock.unlink()


def discard(folder: Path) -> None:
    """Remove a folder whose owner has ended, and its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        lock_of(folder).unlink()


def _left_locks(parent: Path, prefix: str) -> list[Path]:
    """Return the locks of folders that were moved away by owners that have ended. A young lock is left out: its owner
    may be about to make the folder."""
    old = time.time() - _YOUNG
    try:
        locks = [p for p in parent.iterdir() if p.name.startswith(prefix) and p.name.endswith(_LOCK)]
        return [p for p in locks if not p.with_suffix("").exists() and p.stat().st_mtime < old]
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_nobodys(folder: Path) -> bool:
    # Where nobody can tell whether it is locked, it may be somebody's: what isn't known to be abandoned stays.
    return is_held(lock_of(folder)) is False
