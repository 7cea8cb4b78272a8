"""Who works on the queue: one program a data folder, for as long as it holds a lock of the operating system.

The lock ends with its program, however that ends; then another takes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from easyphoto.errors import StorageFailed
from easyphoto.messages import Message
from easyphoto.storage import files
from easyphoto.storage.locks import acquire, is_held

_log = logging.getLogger(__name__)
_LOCK, _NOTE = "owner.lock", "owner.json"


@dataclass(frozen=True)
class Worker:
    """A program that works on a queue: its process, its machine, and since when (seconds since the epoch)."""

    pid: int
    host: str
    since: float

    def sentence(self) -> Message:
        """Who that is, in words."""
        return Message(
            "Process {pid} on {host} works on the queue, since {since}.",
            pid=self.pid,
            host=self.host,
            since=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since)),
        )


class Ownership:
    """The right to work on the queue in ``folder``. Not safe for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: FileLock | None = None

    @property
    def held(self) -> bool:
        """Whether this object has it."""
        return self._lock is not None

    def claim(self) -> bool:
        """Take it if nobody has it; whether it is held now. Where the file system knows no locks everybody has it, as
        there is nothing better."""
        if self._lock is not None:
            return True
        lock = FileLock(self._folder / _LOCK, timeout=0, thread_local=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            acquire(lock)
        except Timeout:
            return False
        except OSError as error:
            _log.warning("the queue can't be locked, other programs may work on it too: %s", error)
        me = Worker(os.getpid(), socket.gethostname(), time.time())
        with contextlib.suppress(StorageFailed):
            files.write_json(self._folder / _NOTE, asdict(me))
        self._lock = lock
        return True

    def release(self) -> None:
        """Give it up."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self._folder / _NOTE).unlink(missing_ok=True)
            self._lock.release(force=True)
            self._lock = None

    def worker(self) -> Worker | None:
        """Who works; None when nobody does."""
        try:
            data = files.read_json(self._folder / _NOTE)
            found = Worker(int(data["pid"]), str(data["host"]), float(data["since"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if self.held or is_held(self._folder / _LOCK) is True else None
