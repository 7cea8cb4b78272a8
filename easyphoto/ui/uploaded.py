"""The pictures and captions that a page was given. They lie among the program's own uploads, not in gradio's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from easyphoto.storage.uploads import Uploads
from easyphoto.training import captions


class Uploaded:
    """The pictures of one ``kind`` that each page has. A page is known by its secret name."""

    def __init__(self, uploads: Uploads, kind: str) -> None:
        self._uploads = uploads
        self._kind = kind

    def add(self, page: str, files: Sequence[Path], temporary: Sequence[Path] = ()) -> None:
        """Keep copies of the files that the page doesn't have yet, and remove the originals that lie in a ``temporary``
        folder.

        Raises ``StorageFailed``.
        """
        known = {_digest(path) for path in self._all(page)}
        for file in files:
            digest = _digest(file)
            if digest not in known:
                known.add(digest)
                self._uploads.keep(self._key(page), file)
            _remove(file, temporary)

    def of(self, page: str) -> list[Path]:
        """Return the pictures that the page has now."""
        return [path for path in self._all(page) if not captions.is_text(path)]

    def texts(self, page: str) -> list[Path]:
        """Return the texts that the page has now. Each is the caption of the picture with the same name."""
        return [path for path in self._all(page) if captions.is_text(path)]

    def named(self, page: str, name: str) -> Path | None:
        """Return the picture of the page that has exactly this name."""
        return next((path for path in self.of(page) if path.name == name), None)

    def remove(self, page: str, name: str) -> None:
        """Remove the picture of this name, and its caption."""
        for path in self._all(page):
            if path.name == name or (captions.is_text(path) and path.stem == Path(name).stem):
                self._uploads.remove(self._key(page), path.name)

    def clear(self, page: str) -> None:
        """Remove everything that the page has."""
        self._uploads.empty(self._key(page))

    def belong_to(self, page: str, user_id: str) -> None:
        """Say that the pictures of the page show this person; they are deleted together with the person."""
        self._uploads.belong(self._key(page), user_id)

    def _all(self, page: str) -> list[Path]:
        return self._uploads.of(self._key(page))

    def _key(self, page: str) -> str:
        return f"page/{page}/{self._kind}"


def _digest(path: Path) -> bytes:
    """Return the digest of a picture's bytes. The digest of a text includes its name, because two pictures may have the
    same caption."""
    name = path.name.encode("utf-8", "replace") if captions.is_text(path) else b""
    return hashlib.sha256(name + path.read_bytes()).digest()


def _remove(file: Path, places: Sequence[Path]) -> None:
    """Remove a file that lies below one of ``places``, and its folder if that is empty afterwards. Any other file
    stays."""
    inside = [place.resolve() for place in places if file.resolve().is_relative_to(place.resolve())]
    if not inside:
        return
    file.unlink(missing_ok=True)
    folder = file.resolve().parent
    if folder not in inside and not any(folder.iterdir()):
        folder.rmdir()
