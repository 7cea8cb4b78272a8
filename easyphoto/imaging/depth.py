"""Samples of more than eight bits: those of 10 to 32 bits, floats, and the TIFFs of either that Pillow can't open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from easyphoto.imaging import tiff

DEEP_MODES = ("I", "F")
_LESS = tuple(2**bits - 1 for bits in range(9, 16))
"""The values that are white in samples of 9 to 15 bits, which often are stored in 16. Any other maximum is only the
brightest value of the picture."""


def is_deep(picture: Pillow.Image) -> bool:
    """Whether the samples of the picture have more than eight bits."""
    return picture.mode.startswith("I;16") or picture.mode in DEEP_MODES


def to_grey(picture: Pillow.Image) -> Pillow.Image:
    """A grey picture of deep samples in eight bits (L), by the range that its file gives them."""
    tags: Mapping[int, Any] = dict(getattr(picture, "tag_v2", {}))
    levels = _grey_levels(picture, tags)
    # Pillow inverts samples that count from white to black only where they are bytes.
    made = Pillow.fromarray(255 - levels if tags.get(tiff.PHOTOMETRIC) == 0 else levels)
    made.info.update(picture.info)
    return made


def _grey_levels(picture: Pillow.Image, tags: Mapping[int, Any]) -> NDArray[np.uint8]:
    values = np.asarray(picture)
    if picture.mode == "F":
        return floats_to_bytes(values)
    if picture.mode.startswith("I;16"):
        most = _first(tags, tiff.MOST, 0)
        return _scaled(values, float(most if most in _LESS else 2 ** _bits(tags, 16) - 1))
    if _bits(tags, 16) == 32 and _first(tags, tiff.SAMPLE_FORMAT, 1) == 1:
        values = values.astype(np.int32).view(np.uint32)
    return _scaled(values, _top(values, tags))


def floats_to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Floats in eight bits. Their range is 0 to 1, or 0 to 255 or 0 to 65535 where they are larger; what is no number
    is 0.

    A few values over the range are highlights and are cut off, so that one of them doesn't make the rest black."""
    finite = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    bright = float(np.percentile(finite[:: max(1, len(finite) // 512)], 99)) if finite.size else 0.0
    top = next((t for t in (1.0, 255.0, 65535.0) if bright <= 1.1 * t), bright)
    return _scaled(finite, top)


def decode_tiff(data: bytes, header: tiff.TiffDirectory) -> Pillow.Image | None:
    """A TIFF that Pillow can't open, read by OpenCV: three channels of 10 to 16 bits or of floats, or grey of 64 bits.
    None where OpenCV can't read it either. The caller has checked the size in the header."""
    if header.planar or header.samples not in (1, 3, 4) or header.bits not in (10, 12, 14, 16, 32, 64):
        return None
    if header.is_float != (header.bits in (32, 64)):
        return None
    try:
        read: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if read is None or read.shape[:2] != (header.height, header.width):
        return None
    if np.issubdtype(
        read.dtype, np.floating
    ):  # This includes what is packed as luminance and colour, and says that it has 16 bits.
        levels = floats_to_bytes(read)
    else:
        levels = _scaled(read, float(65536 - 2 ** (16 - header.bits)))
    if levels.ndim == 2:
        return Pillow.fromarray(levels)
    # OpenCV's order is blue, green, red, alpha.
    order = [2, 1, 0, 3][: levels.shape[2]]
    return Pillow.fromarray(np.ascontiguousarray(levels[..., order]))


def _scaled(values: NDArray[Any], top: float) -> NDArray[np.uint8]:
    """Values of 0 to ``top`` as rounded values of 0 to 255. This is done in strips, so that a large picture needs
    little memory beside its own."""
    result = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), 256):
        strip = np.clip(values[start : start + 256].astype(np.float32), 0, top)
        result[start : start + 256] = np.rint(strip * np.float32(255 / max(top, 1e-9)))
    return result


def _top(values: NDArray[Any], tags: Mapping[int, Any]) -> float:
    """The value that is white among whole numbers in 32 bits: 65535 for PNG and PPM, half as much for signed samples of
    a TIFF, and for samples of 32 bits the end of the smallest usual range that holds them all."""
    if not tags or _bits(tags, 16) == 16:
        return 32767.0 if tags and _first(tags, tiff.SAMPLE_FORMAT, 1) == 2 else 65535.0
    most = float(values.max(initial=0))
    return next((t for t in (255.0, 65535.0) if most <= t), 2.0**32 - 1 if values.dtype == np.uint32 else 2.0**31 - 1)


def _bits(tags: Mapping[int, Any], otherwise: int) -> int:
    bits = _first(tags, tiff.BITS, otherwise)
    return bits if 8 < bits <= 32 else otherwise


def _first(tags: Mapping[int, Any], tag: int, otherwise: int) -> int:
    value = tags.get(tag, otherwise)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else otherwise
