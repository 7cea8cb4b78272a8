"""Files that came through a browser: they are kept in the program's own folder while the program runs, and then
removed."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from easyphoto.config import Paths
from easyphoto.storage import files, listing, names
from easyphoto.storage.scratch import Scratch, sweep

_SESSION = "session-"
_NOBODYS = "unnamed"
_NOTE = ".of"
"""The end of the name of a file that lies beside a folder of uploads and says whose they are."""


class Uploads:
    """The uploads of one run of the program, in a folder of its own under ``paths.uploads``.

    Files are kept by the person that they are for. Nothing is written before the first :meth:`keep`. Call
    :meth:`empty_all` at the start and at the end: it removes the uploads of this run and those of runs that have ended,
    and leaves those of other programs that run on the same folder.
    """

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.uploads
        self._session: Scratch | None = None
        self._lock = threading.Lock()

    def keep(self, person: str | None, file: Path) -> Path:
        """Keep a copy of ``file`` among the uploads of ``person`` (None while nobody is named), under its own name as
        far as that can be the name of a file, and return its path. Raises :class:`StorageFailed`."""
        with self._lock:
            if self._session is None:
                self._session = Scratch(self._folder, _SESSION)
            folder = self._session.path / _place(person)
            # Still under the lock: two files of one name that come at once must not take one place.
            target = folder / _free(folder, _file_name(file.name))
            files.copy(file, target)
        return target

    def belong(self, key: str, person: str) -> None:
        """Note that what was kept under ``key`` belongs to ``person`` too, and is removed with them."""
        with self._lock:
            if self._session is not None:
                note = self._session.path / f"{_place(key)}{_NOTE}"
                known = note.read_text(encoding="ascii").split() if note.is_file() else []
                if _place(person) not in known:
                    files.write_bytes(note, "\n".join([*known, _place(person)]).encode("ascii"))

    def of(self, person: str | None) -> list[Path]:
        """Return the uploads of a person, from every run of the program."""
        found = (session / _place(person) for session in self._sessions())
        return [path for folder in found for path in listing.below(folder)]

    def remove(self, person: str | None, name: str) -> bool:
        """Remove the upload of a person that has exactly this name. Returns whether there was one."""
        gone = [path for path in self.of(person) if path.name == name]
        for path in gone:
            files.remove(path)
        return bool(gone)

    def empty(self, person: str | None) -> list[Path]:
        """Remove the uploads of a person, from every run of the program, and return what was removed."""
        gone = self.of(person)
        for session in self._sessions():
            files.remove(session / _place(person))
            files.remove(session / f"{_place(person)}{_NOTE}")
            for note in session.glob(f"*{_NOTE}"):
                if _place(person) in note.read_text(encoding="ascii").split():
                    kept = note.with_suffix("")
                    gone += listing.below(kept)
                    files.remove(kept)
                    files.remove(note)
        return gone

    def empty_all(self) -> None:
        """Remove the uploads of this run and those of runs that have ended."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()
        sweep(self._folder, _SESSION)

    def _sessions(self) -> list[Path]:
        try:
            return sorted(p for p in self._folder.iterdir() if p.name.startswith(_SESSION) and p.is_dir())
        except OSError:
            return []


def _place(person: str | None) -> str:
    """Return the folder for a person. It isn't called by their name, because two names that a file system takes for one
    must not share it."""
    return _NOBODYS if person is None else "p-" + hashlib.sha256(person.encode("utf-8", "replace")).hexdigest()[:24]


def _file_name(name: str) -> str:
    plain = "".join("_" if c in names.FORBIDDEN or not c.isprintable() else c for c in name).strip(". ")
    stem, suffix = Path(plain).stem, Path(plain).suffix[:16]
    while len((stem + suffix).encode("utf-8", "replace")) > names.MAX_BYTES:
        stem = stem[:-1]
    return stem + suffix if names.portable(stem + suffix) else f"upload{suffix}"


def _free(folder: Path, name: str) -> str:
    """Return the path for the name, with a number where that name is taken."""
    stem, suffix = Path(name).stem, Path(name).suffix
    number, found = 1, name
    while (folder / found).exists():
        number += 1
        found = f"{stem} ({number}){suffix}"
    return found
