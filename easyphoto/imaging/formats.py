"""Which kinds of picture file are read. Everything else that Pillow knows is never tried: an EPS would start
Ghostscript, and rare decoders are rarely looked after."""

from __future__ import annotations

import importlib
import importlib.util
from typing import IO

from PIL import Image as Pillow

from easyphoto.messages import Message

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "HEIF")
"""Pillow's names. Where Pillow can't read one of them (AVIF before 11.3, HEIF without pillow-heif) it is left out."""
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)
"""How the names of such files end, in small letters."""
READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
"""What a sentence advises to save a picture as."""
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_BY_SUFFIX = {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}


def readable() -> tuple[str, ...]:
    """Those of `FORMATS` that Pillow reads here. pillow-heif is taken into use where it is installed."""
    Pillow.init()
    if "HEIF" not in Pillow.OPEN and importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in FORMATS if name in Pillow.OPEN)


def open_picture(stream: IO[bytes]) -> Pillow.Image:
    """The picture in ``stream``, not yet decoded; raises whatever Pillow's readers of these formats raise."""
    return Pillow.open(stream, formats=readable())


def missing(head: bytes, name: str) -> str | None:
    """What to do about the file ``name`` that begins with ``head`` (64 bytes are enough) and can't be read here for
    want of a package; None when that is not what ails it."""
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
    """The one of `FORMATS` that files with this ending (in small letters) have and that can't be read here."""
    kind = _BY_SUFFIX.get(suffix)
    return kind if kind is not None and kind not in readable() else None


def _container(head: bytes) -> str | None:
    """AVIF or HEIF by the brands in the first box of an ISO media file."""
    if head[4:8] != b"ftyp":
        return None
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None
