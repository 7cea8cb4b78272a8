"""The first directory of a TIFF, which is read here because a file that Pillow refuses to open still has a size and a
profile."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

BITS, PHOTOMETRIC, MOST, SAMPLE_FORMAT = 258, 262, 281, 339
"""The numbers of tags. ``MOST`` is the largest value of a sample."""
_WIDTH, _HEIGHT, _SAMPLES, _PLANAR, _ORIENTATION, _PROFILE = 256, 257, 277, 284, 274, 34675
_ESSENTIAL = frozenset(
    {
        254,
        _WIDTH,
        _HEIGHT,
        BITS,
        259,
        PHOTOMETRIC,
        266,
        273,
        _ORIENTATION,
        _SAMPLES,
        278,
        279,
        MOST,
        _PLANAR,
        292,
        293,
        317,
        320,
    }
    | {322, 323, 324, 325, 332, 338, SAMPLE_FORMAT, 347, 512, 513, 514, 529, 530, 531, 532, _PROFILE}
)
"""The tags without which the pixels can't be read as they are meant."""
_KINDS = {1: "B", 3: "H", 4: "I"}


@dataclass(frozen=True)
class TiffDirectory:
    """What the first directory says of its picture. ``planar`` says that each channel is stored on its own."""

    width: int
    height: int
    bits: int = 1
    samples: int = 1
    is_float: bool = False
    planar: bool = False
    orientation: int = 1
    profile: bytes | None = None


@dataclass(frozen=True)
class _Entry:
    place: int
    tag: int
    kind: int
    count: int
    value: int
    """The value itself where it is one number and fits into four bytes, or else the place where the values lie."""


def is_tiff(data: bytes) -> bool:
    """Whether the file says that it is a TIFF, with offsets of four bytes."""
    return data[:4] in (b"II*\0", b"MM\0*")


def header(data: bytes) -> TiffDirectory | None:
    """The first directory; None for a file that is no TIFF or gives no size."""
    try:
        order, entries = _directory(data)
    except (struct.error, ValueError):
        return None
    found = {e.tag: e for e in entries}

    def number(tag: int, otherwise: int) -> int:
        entry = found.get(tag)
        if entry is None or entry.kind not in _KINDS or not entry.count:
            return otherwise
        if entry.count * struct.calcsize(_KINDS[entry.kind]) <= 4:
            return entry.value
        values = struct.unpack_from(f"{order}{_KINDS[entry.kind]}", data, entry.value)
        return int(values[0])

    try:
        profile = found.get(_PROFILE)
        return TiffDirectory(
            width=number(_WIDTH, 0),
            height=number(_HEIGHT, 0),
            bits=number(BITS, 1),
            samples=number(_SAMPLES, 1),
            is_float=number(SAMPLE_FORMAT, 1) == 3,
            planar=number(_PLANAR, 1) == 2 and number(_SAMPLES, 1) > 1,
            orientation=number(_ORIENTATION, 1),
            profile=data[profile.value : profile.value + profile.count] if profile and profile.count > 4 else None,
        )
    except struct.error:
        return None


def bare(data: bytes) -> bytes:
    """The file with those tags of its first directory that its pixels need, and without further directories. Raises
    ``ValueError`` or ``struct.error`` when it is no TIFF."""
    order, entries = _directory(data)
    entries = list(entries)
    kept = [e for e in entries if e.tag in _ESSENTIAL]
    start = int(struct.unpack_from(f"{order}I", data, 4)[0])
    table = b"".join(data[e.place : e.place + 12] for e in kept)
    body = struct.pack(f"{order}H", len(kept)) + table + bytes(4)
    made = bytearray(data)
    made[start : start + len(body)] = body
    return bytes(made)


def _directory(data: bytes) -> tuple[str, list[_Entry]]:
    if not is_tiff(data):
        raise ValueError("no TIFF")
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    (count,) = struct.unpack_from(f"{order}H", data, start)
    return order, list(_entries(data, order, start + 2, min(count, (len(data) - start - 2) // 12)))


def _entries(data: bytes, order: str, start: int, count: int) -> Iterator[_Entry]:
    for place in range(start, start + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, place)
        short = kind in (1, 3) and number == 1
        value = struct.unpack_from(f"{order}{_KINDS[kind] if short else 'I'}", data, place + 8)[0]
        yield _Entry(place, tag, kind, number, value)
