"""Small copies of pictures, for whoever shows many of them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tempfile
import weakref
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.errors import EasyPhotoError, StorageFailed
from easyphoto.ports import Image
from easyphoto.templates.face_counts import mark

KEPT = 4000
"""How many small copies a folder that lasts may hold; when it is opened, the oldest beyond that are removed."""
_GREEN, _WHITE = (22, 163, 74), (255, 255, 255)


class Thumbnails:
    """Small copies of pictures as files, each made once.

    They lie in ``folder``, and last; without it, in a temporary folder that is removed with this object.
    """

    SIDE = 384

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.mkdtemp(prefix="easyphoto-"))
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        else:
            _prune(folder)

    @property
    def folder(self) -> Path:
        """Where the copies lie."""
        return self._folder

    def of(self, path: Path, *, chosen: bool = False) -> Path:
        """Return the small copy of ``path`` as it is now, with a mark on it if it is ``chosen``.

        A picture that can't be read gets a grey copy. If the disk has no room for a copy, the answer is ``path``
        itself.
        """
        small = self._named(path, chosen=chosen)
        try:
            if not small.exists():
                made = jpg(path, self.SIDE)
                pictures.write_bytes(small, _marked(made) if chosen else made)
        except StorageFailed:
            return path
        except (EasyPhotoError, OSError):
            return self.drawn("unreadable", np.full((self.SIDE, self.SIDE, 3), 200, np.uint8)) or path
        return small

    def drawn(self, name: str, image: Image) -> Path | None:
        """Keep ``image`` under a name that no other picture has. Returns None if the disk has no room for it."""
        path = self._folder / f"{name}.jpg"
        try:
            if not path.exists():
                pictures.save_jpg(path, image)
        except StorageFailed:
            return None
        return path

    def forget(self, path: Path) -> None:
        """Remove the small copies of ``path``, before it is removed itself."""
        for chosen in (False, True):
            with contextlib.suppress(OSError):
                self._named(path, chosen=chosen).unlink()

    def _named(self, path: Path, *, chosen: bool) -> Path:
        key = hashlib.sha256((mark(path) or str(path)).encode("utf-8", "replace")).hexdigest()
        return self._folder / f"{key[:24]}{'-chosen' if chosen else ''}.jpg"


def jpg(path: Path, side: int) -> bytes:
    """Return a picture as a JPEG that fits into a square of ``side`` pixels."""
    small = Pillow.fromarray(pictures.load(path, max_side=2 * side))
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    return _encoded(small)


def _encoded(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _marked(data: bytes) -> bytes:
    """Return a small copy with a green frame, and a tick in the middle of its upper edge: a gallery that cuts pictures
    square cuts the sides of a wide one and the ends of a tall one, and keeps what lies within the square."""
    image = np.array(Pillow.open(io.BytesIO(data)))
    height, width = image.shape[:2]
    side = min(height, width)
    left, top, thick = (width - side) // 2, (height - side) // 2, max(3, side // 32)
    cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), _GREEN, 2 * thick)
    radius = side // 9
    x, y = left + side - radius - 2 * thick, top + radius + 2 * thick
    cv2.circle(image, (x, y), radius, _GREEN, -1, cv2.LINE_AA)
    tick = np.array([[-0.45, 0.05], [-0.12, 0.4], [0.5, -0.35]]) * radius + (x, y)
    cv2.polylines(image, [tick.round().astype(np.int32)], False, _WHITE, max(2, radius // 5), cv2.LINE_AA)
    return _encoded(Pillow.fromarray(image))


def _prune(folder: Path) -> None:
    with contextlib.suppress(OSError):
        copies = sorted(folder.glob("*.jpg"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in copies[KEPT:]:
            old.unlink()
