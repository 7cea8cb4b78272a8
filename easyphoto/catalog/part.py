"""A download that is not whole yet: the bytes that came so far lie beside the final name, with a note of what they
belong to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from easyphoto.errors import StorageFailed

CHUNK = 1 << 20


def begun(target: Path) -> int:
    """Return how many bytes there are of a download of ``target`` that was broken off."""
    part = _beside(target)
    return part.stat().st_size if part.is_file() else 0


class Part:
    """The files ``target.part`` and ``target.part.json``. The final name appears only when :meth:`finish` gives it to
    the whole file."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = _beside(target)
        self._note = target.with_name(target.name + ".part.json")
        self._digest: Any = hashlib.sha256()
        self._hashed = 0
        self.size = begun(target)
        self.url, self.validator = self._read_note() if self.size else ("", "")

    def begin(self, url: str, validator: str) -> None:
        """Note that what follows comes from ``url``. ``validator`` (an ETag or a date) tells later whether the file
        there has changed."""
        self.url, self.validator = url, validator
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def append(self, piece: bytes) -> None:
        self._catch_up()
        try:
            with self.path.open("ab") as file:
                file.write(piece)
        except OSError as error:
            raise self._failed(error) from error
        self._digest.update(piece)
        self.size += len(piece)
        self._hashed = self.size

    def sha256(self) -> str:
        """Return the checksum of what is there so far. It is computed while the bytes come; only what an earlier
        process left is read again."""
        self._catch_up()
        return str(self._digest.hexdigest())

    def clear(self) -> None:
        """Remove everything: the next byte is the first one."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        with contextlib.suppress(FileNotFoundError):
            self._note.unlink()
        self._digest, self._hashed, self.size = hashlib.sha256(), 0, 0
        self.url = self.validator = ""

    def finish(self, *, keep_old: bool) -> None:
        """Give the file its final name. A file that has that name is kept as ``.old`` if ``keep_old`` is true, else
        replaced."""
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            if keep_old and self.target.exists():
                self.target.replace(self.target.with_name(self.target.name + ".old"))
            self.path.replace(self.target)
        except OSError as error:
            raise self._failed(error) from error
        with contextlib.suppress(OSError):
            self._note.unlink()

    def _catch_up(self) -> None:
        if self._hashed == self.size:
            return
        self._digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while piece := file.read(CHUNK):
                self._digest.update(piece)
        self._hashed = self.size

    def _read_note(self) -> tuple[str, str]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return str(note["url"]), str(note["validator"])
        return "", ""

    def _failed(self, error: OSError) -> StorageFailed:
        return StorageFailed(
            "{target} can't be written ({reason}).", target=self.target, reason=error.strerror or error
        )


def _beside(target: Path) -> Path:
    return target.with_name(target.name + ".part")
