"""A lock that lets one process or thread in at a time, with nothing but the standard library.

The Python that makes the environment has none of our packages, and so no filelock. Once they are installed, whatever
has to be locked is locked with filelock (:mod:`easyphoto.storage.locks`).

The lock is one of the operating system, on a file that stays. It ends with its process, however the process ends.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL = 0.2
"""Seconds between two tries."""
NOT_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""The errors of file systems that have no locks. Everybody then goes on without one, because there is nothing
better."""


@contextmanager
def exclusive(file: Path, waiting: Callable[[], None], limit: float | None = None) -> Iterator[bool]:
    """Keep everybody else who asks for ``file`` out meanwhile. Gives whether it had to wait.

    ``waiting`` is called a few times a second while somebody else is in, and may raise an error to give up. Raises
    TimeoutError after ``limit`` seconds of waiting, and OSError if the file can't be made.
    """
    number = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        began, waited = time.monotonic(), False
        while not _take(number):
            waited = True
            if limit is not None and time.monotonic() - began >= limit:
                raise TimeoutError(f"somebody else holds {file.name}")
            waiting()
            time.sleep(POLL)
        yield waited
    finally:
        os.close(number)  # closing the file unlocks it too


def _take(number: int) -> bool:
    """Try once to lock an open file. Returns False if somebody else has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(number, 0, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NOT_HERE:
            return True
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True
