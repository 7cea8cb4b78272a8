"""The pictures of requests that wait, as files: one folder a job, readable by the program's user alone."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from easyphoto.errors import StorageFailed, TooBusy
from easyphoto.filenames import shown
from easyphoto.pictures import MAX_BYTES, Source
from easyphoto.queue.port import StoredPicture
from easyphoto.storage.locks import acquire

_FOLDER, _LOCK, _PART = "pictures", "pictures.lock", ".part"
_BARE = "picture"
"""What the file of a picture is called that came as bytes."""
WAIT = 120.0
"""Seconds that a program waits while another puts its pictures there."""


class Spool:
    """Below ``folder``, the pictures of each job in the order in which they were given."""

    def __init__(self, folder: Path) -> None:
        self._parent = folder
        self._folder = folder / _FOLDER

    @contextmanager
    def alone(self, wait: float = WAIT) -> Iterator[None]:
        """Held while pictures and their job come or go together: nobody takes a folder for left over meanwhile.
        Raises :class:`StorageFailed`, and :class:`TooBusy` after ``wait`` seconds."""
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._parent / _LOCK, timeout=wait, poll_interval=0.01, thread_local=False)
            acquire(lock)
        except Timeout as error:
            raise TooBusy("Another program keeps its pictures in the queue: try again in a moment.") from error
        except OSError as error:
            raise _not_kept(error) from error
        try:
            yield
        finally:
            lock.release(force=True)

    def keep(self, job: str, pictures: Sequence[Source]) -> tuple[tuple[tuple[str, bool], ...], int]:
        """Keep copies of the pictures of a job: (path below its folder, whether it came as a file) of each, and the
        bytes of all. A file that is no file, or too large to be read, is named where it lies, and whoever works on the
        request says what is wrong with it. Raises :class:`StorageFailed`, and nothing is left then."""
        if not pictures:
            return (), 0
        staging = self._folder / f"{job}{_PART}"
        try:
            staging.mkdir(mode=0o700, parents=True)
            found = tuple(self._kept(staging, number, source) for number, source in enumerate(pictures))
            size = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
            staging.rename(self._folder / job)
        except OSError as error:
            self.discard(staging.name)
            raise _not_kept(error) from error
        return found, size

    def _kept(self, staging: Path, number: int, source: Source) -> tuple[str, bool]:
        if not isinstance(source, Path):
            place = f"{number}/{_BARE}"
            (staging / str(number)).mkdir()
            (staging / place).write_bytes(source)
            return place, False
        if not _can_be_kept(source):
            return str(source.absolute()), True
        (staging / str(number)).mkdir()
        shutil.copyfile(source, staging / str(number) / source.name)
        return f"{number}/{source.name}", True

    def pictures(self, job: str, kept: Sequence[tuple[str, bool]]) -> tuple[StoredPicture, ...]:
        """The pictures of a job as :meth:`keep` has kept them; none when they have been discarded."""
        folder = self._folder / job
        if any(not Path(place).is_absolute() for place, _ in kept) and not folder.is_dir():
            return ()
        return tuple(StoredPicture(folder / place, named) for place, named in kept)

    def discard(self, job: str) -> None:
        """Remove the pictures of a job. What can't be removed stays for :meth:`sweep`."""
        shutil.rmtree(self._folder / job, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def sweep(self, jobs: Collection[str]) -> None:
        """Remove the pictures of all but these jobs. Called while :meth:`alone`. Raises :class:`StorageFailed` when
        some can't be removed."""
        try:
            for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
                if folder.name not in jobs:
                    shutil.rmtree(folder)
        except OSError as error:
            raise StorageFailed(
                "Pictures in the queue can't be removed: {reason}.", reason=error.strerror or error
            ) from error


def _can_be_kept(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= MAX_BYTES
    except (OSError, ValueError):
        return False


def _not_kept(error: OSError) -> StorageFailed:
    name = "" if error.filename is None else shown(Path(str(error.filename)).name)
    return StorageFailed(
        "The pictures of the request can't be kept in the queue ({name}): {reason}.",
        name=name,
        reason=error.strerror or error,
    )
