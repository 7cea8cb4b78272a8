"""A picture file without its metadata: where only the metadata is broken, the picture isn't damaged."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from easyphoto.imaging import tiff

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xdb\xc4]")
"""The marks at which the picture itself goes on in a JPEG: a frame, a quantisation table or a Huffman table."""


def without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield versions of the file that may be tried in turn: first with its EXIF alone, which says which side is up,
    then without any metadata. Yields nothing where the file is of another kind or can't be taken apart."""
    seen = {data}
    for keep_exif in (True, False):
        try:
            made = _stripper(data)(data, keep_exif)
        except (struct.error, ValueError, IndexError):
            return
        if made not in seen:
            seen.add(made)
            yield made


def _stripper(data: bytes) -> Callable[[bytes, bool], bytes]:
    if data[:8] == _PNG:
        return _png
    if data[:2] == b"\xff\xd8":
        return _jpeg
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if tiff.is_tiff(data):
        return lambda content, keep_exif: tiff.bare(content)
    raise ValueError("no kind of file that can be taken apart")


def _png(data: bytes, keep_exif: bool) -> bytes:
    made, place = [_PNG], 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind in _PNG_PIXELS or (keep_exif and kind == b"eXIf"):
            made.append(data[place : place + 12 + length])
        place += 12 + length
    return b"".join(made)


def _jpeg(data: bytes, keep_exif: bool) -> bytes:
    """The segments up to the first scan, without APP1 to APP13, APP15 and comments. APP0 and APP14 stay, because they
    say what the colours mean. Where the length of a segment is wrong, the next table or frame is looked for."""
    made, place = [b"\xff\xd8"], 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            found = _FRAME.search(data, place)
            if found is None:
                raise ValueError("no picture")
            place = found.start()
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == 0xDA:
            return b"".join([*made, data[place:]])
        end = place + 2 + int(struct.unpack_from(">H", data, place + 2)[0])
        is_metadata = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)
        exif = keep_exif and marker == 0xE1 and data[place + 4 : place + 8] == b"Exif"
        if is_metadata and (end >= len(data) or data[end] != 0xFF):
            found = _FRAME.search(data, place + 2)
            if found is None:
                raise ValueError("no picture")
            place = found.start()
            continue
        if not is_metadata or exif:
            made.append(data[place:end])
        place = end
    raise ValueError("no picture")


def _webp(data: bytes, keep_exif: bool) -> bytes:
    made, place = [], 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        end = place + 8 + length + length % 2
        if kind == b"VP8X":
            flags = data[place + 8] & (0b11011010 if keep_exif else 0b11010010)
            made.append(data[place : place + 8] + bytes([flags]) + data[place + 9 : end])
        elif kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF") or (keep_exif and kind == b"EXIF"):
            made.append(data[place:end])
        place = end
    body = b"".join(made)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
