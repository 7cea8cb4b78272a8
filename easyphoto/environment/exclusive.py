"""One at a time between processes and threads, with nothing but the standard library.

The environment is made by a Python in which none of our packages is installed, filelock among them; once they are, what
has to be locked is locked by filelock (:mod:`easyphoto.storage.locks`).

The lock is one of the operating system on a file that stays: it ends with its process, however that ends.
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
"""What file systems without locks answer; then everybody goes on, as there is nothing better."""


@contextmanager
def exclusive(file: Path, waiting: Callable[[], None], limit: float | None = None) -> Iterator[bool]:
    """While entered, nobody else who asks for ``file`` gets in. Gives whether it had to wait.

    ``waiting`` is called a few times a second while somebody else is in; it may raise to give up. After ``limit``
    seconds of waiting TimeoutError is raised. OSError when the file can't be made.
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
        os.close(number)  # which also lets go


def _take(number: int) -> bool:
    """Try once to lock an open file; False when somebody else has it."""
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
