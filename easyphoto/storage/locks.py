"""Locks on files. Those on a person's files let one training at a time, in one process, write them, and nobody deletes
them meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.storage.folders import JobFolder

WORKER_LEAVES = 2.0
"""How many seconds a trainer's process may still need to end when its parent has ended."""


def acquire(lock: FileLock, timeout: float | None = None) -> None:
    """Take ``lock``, within ``timeout`` seconds or its own. Raises ``Timeout``, and OSError where it can't be taken.
    That includes a file system without locks, of which some versions of filelock say ``NotImplementedError``."""
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from error


@contextmanager
def holding(path: Path, timeout: float = -1, poll: float = 0.05) -> Iterator[None]:
    """Hold the lock of this file, which is made if it isn't there. A negative ``timeout`` waits for ever. Raises what
    :func:`acquire` does."""
    lock = FileLock(path, timeout=timeout, poll_interval=poll, thread_local=False)
    acquire(lock)
    try:
        yield
    finally:
        lock.release(force=True)


@contextmanager
def alone(job: JobFolder, user_id: str) -> Iterator[None]:
    """Hold a training's folder, and make it if it isn't there. Raises :class:`InvalidRequest` when another training
    holds it.

    The lock of the worker is looked at too, because a worker may outlive a parent that was killed.
    """
    with ExitStack() as held:
        try:
            job.path.mkdir(parents=True, exist_ok=True)
            held.enter_context(holding(job.parent_lock, 0))
            with holding(job.worker_lock, WORKER_LEAVES):
                pass
        except Timeout:
            raise InvalidRequest(
                "{user_id} is being trained already: wait for that training to end or cancel it.", user_id=user_id
            ) from None
        except OSError as error:
            name = f"{job.path.parent.name}/{job.path.name}"
            raise StorageFailed(
                "{name} can't be written: {reason}.", name=name, reason=error.strerror or error
            ) from error
        yield


def busy(job: JobFolder) -> bool:
    """Return whether a training holds the folder now, in this process or another."""
    return any(is_held(lock) is True for lock in (job.parent_lock, job.worker_lock) if _is_there(lock))


def is_held(lock: Path) -> bool | None:
    """Return whether anybody, in this process or another, holds the lock of this file now. None where nobody can tell:
    the file can't be opened, or its file system has no locks. The file is made if it isn't there."""
    try:
        with holding(lock, 0):
            return False
    except Timeout:
        return True
    except OSError:
        return None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
