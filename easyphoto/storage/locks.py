"""Locks on a person's files: one training at a time, in one process, may write them, and nobody deletes them
meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.storage.folders import JobFolder

WORKER_LEAVES = 2.0
"""How many seconds a trainer's process may still need to end when its parent has ended."""


@contextmanager
def alone(job: JobFolder, user_id: str) -> Iterator[None]:
    """Hold a training's folder, and make it if it isn't there. Raises :class:`InvalidRequest` when another training
    holds it.

    The lock of the worker is looked at too, because a worker may outlive a parent that was killed.
    """
    with ExitStack() as held:
        try:
            job.path.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(job.parent_lock, timeout=0, thread_local=False))
            with FileLock(job.worker_lock, timeout=WORKER_LEAVES, thread_local=False):
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
    return _held(job.parent_lock) or _held(job.worker_lock)


def _held(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with FileLock(path, timeout=0, thread_local=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False
