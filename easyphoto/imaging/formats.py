"""Which kinds of picture file are read. No other kind that Pillow knows is tried, because an EPS would start
Ghostscript, and rare decoders are rarely looked after."""

from __future__ import annotations

import importlib
import importlib.util
from typing import IO, TYPE_CHECKING

from easyphoto.messages import Message

if TYPE_CHECKING:
    from PIL import Image as Pillow

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "HEIF")
"""Pillow's names of the formats. One that Pillow can't read here (AVIF before 11.3, HEIF without pillow-heif) is left
out."""
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)
"""How the names of such files end, in small letters."""
READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
"""The formats in which a sentence advises to save a picture."""
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_BY_SUFFIX = {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}


def readable() -> tuple[str, ...]:
    """The formats among `FORMATS` that Pillow can read here. Where pillow-heif is installed it is used."""
    from PIL import Image as Pillow

    Pillow.init()
    if "HEIF" not in Pillow.OPEN and importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in FORMATS if name in Pillow.OPEN)


def open_picture(stream: IO[bytes]) -> Pillow.Image:
    """The picture in ``stream``, which is not decoded yet. Raises whatever Pillow's readers of these formats raise."""
    from PIL import Image as Pillow

    return Pillow.open(stream, formats=readable())


def missing(head: bytes, name: str) -> str | None:
    """What to do about the file ``name``, which begins with ``head`` (64 bytes are enough), where it can't be read
    because a package is missing. None when that isn't the reason."""
    kind = _container(head)
    if kind is None or kind in readable():
        return None
    if kind == "HEIF":
        return Message(
            "{name} is a HEIC photo: install the package pillow-heif to read it, or save it as JPEG.", name=name
        )
    return Message(
        "{name} is an AVIF picture: update Pillow to 11.3 or later to read it, or save it as JPEG.", name=name
    )


def lacking(suffix: str) -> str | None:
    """The format of files with this ending (in small letters), if it is one of `FORMATS` and can't be read here."""
    kind = _BY_SUFFIX.get(suffix)
    return kind if kind is not None and kind not in readable() else None


def _container(head: bytes) -> str | None:
    """AVIF or HEIF, known by the brands in the first box of an ISO media file; None for any other file."""
    if head[4:8] != b"ftyp":
        return None
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None
