"""Picture files that are made by hand, because no library at hand would write them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

PNG = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Pillow.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(picture: Pillow.Image, *chunks: bytes) -> bytes:
    """A PNG with more chunks between its header and its pixels."""
    whole = encoded(picture)
    return whole[:33] + b"".join(chunks) + whole[33:]


def jpeg_with(picture: Pillow.Image, *segments: bytes) -> bytes:
    """A JPEG with more segments after its first bytes."""
    whole = encoded(picture, "JPEG", quality=95)
    return whole[:2] + b"".join(segments) + whole[2:]


def segment(marker: int, data: bytes, length: int | None = None) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2 if length is None else length) + data


def tiff(values: NDArray[np.generic], bits: int, kind: int = 1, *, more: dict[int, int] | None = None) -> bytes:
    """An uncompressed TIFF of (h, w) or (h, w, 3). ``bits`` under 16 are packed; ``kind`` is its SampleFormat,
    ``more`` further tags."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else values.shape[2]
    if bits == 12:
        rows = []
        for row in values.reshape(height, -1):
            text = "".join(f"{int(v):012b}" for v in row)
            text += "0" * (-len(text) % 8)
            rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
        data = b"".join(rows)
    else:
        data = values.tobytes()
    numbers = [(256, width), (257, height), (258, bits), (259, 1), (262, 2 if samples > 1 else 1), (273, 0)]
    numbers += [(277, samples), (278, height), (279, len(data)), (284, 1), (339, kind)]
    numbers = sorted({**dict(numbers), **(more or {})}.items())
    start = 8 + 2 + 12 * len(numbers) + 4
    beside = struct.pack("<3H", bits, bits, bits) + struct.pack("<3H", kind, kind, kind)
    made = b"II*\0" + struct.pack("<IH", 8, len(numbers))
    for tag, number in numbers:
        if samples == 3 and tag in (258, 339):
            made += struct.pack("<HHII", tag, 3, 3, start + (6 if tag == 339 else 0))
        else:
            made += struct.pack("<HHII", tag, 4, 1, start + len(beside) if tag == 273 else number)
    return made + bytes(4) + beside + data
