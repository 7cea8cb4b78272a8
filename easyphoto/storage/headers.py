"""The header of a safetensors file: the names, shapes and types of its tensors, and free text.

The file begins with the length of the header (8 bytes, little endian). The header follows: JSON with the type, shape
and place of every tensor, and strings under ``__metadata__``. It is read in milliseconds, however large the file is.
Nothing else in the program opens such a header.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.messages import Message

TensorShape = tuple[int, ...]

BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Type of numbers -> how many bytes one of them takes. A type that isn't here may take any number of bytes."""
_MAX_HEADER = 100_000_000
_UNREADABLE = "is not a whole safetensors file"


HeaderFault = Literal["no header", "cut off", "unreadable", "other size", "contradicts itself"]


@dataclass(frozen=True)
class SafetensorsHeader:
    """The names, shapes and types of a file's tensors, and its metadata."""

    shapes: Mapping[str, TensorShape]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]


class BrokenHeader(Exception):
    """A file that is no whole safetensors file. ``fault`` says in what way.

    With "other size" the file has ``there`` bytes of weights where its header says ``wanted``.
    """

    def __init__(self, fault: HeaderFault, there: int = 0, wanted: int = 0) -> None:
        super().__init__(fault)
        self.fault, self.there, self.wanted = fault, there, wanted


def parse(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file, which must be there. Raises :class:`BrokenHeader` when the file isn't
    whole, and OSError when it can't be read."""
    raw, size = _raw(path)
    try:
        entries = json.loads(raw)
        metadata = dict(entries.pop("__metadata__", {}) or {})
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in entries.items()}
        dtypes = {name: str(entry["dtype"]) for name, entry in entries.items()}
        places = {name: (int(e["data_offsets"][0]), int(e["data_offsets"][1])) for name, e in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BrokenHeader("unreadable") from error
    there, wanted = size - 8 - len(raw), max((end for _, end in places.values()), default=0)
    if wanted != there:
        raise BrokenHeader("other size", there, wanted)
    if not _fit(shapes, dtypes, places):
        raise BrokenHeader("contradicts itself")
    return SafetensorsHeader(shapes, dtypes, {str(k): str(v) for k, v in metadata.items()})


def read_header(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file.

    Raises :class:`InvalidRequest`, which says what the file is instead, when it is truncated, padded, contradicts
    itself or is of another format, and :class:`NotFound` when there is no file.
    """
    if path.is_dir():
        raise InvalidRequest("{path} " + _UNREADABLE + ": it is a folder.", path=path.name)
    if path.is_symlink() and not path.exists():
        raise NotFound("{path} is a link to a file that isn't there.", path=path.name)
    if not path.is_file():
        raise NotFound("There is no file {path}.", path=path.name)
    try:
        return parse(path)
    except BrokenHeader as error:
        raise _told(path, error) from error
    except OSError as error:
        raise InvalidRequest(
            "{path} can't be read: {reason}.", path=path.name, reason=error.strerror or error
        ) from error


def _told(path: Path, broken: BrokenHeader) -> InvalidRequest:
    """Return the error for a file that isn't whole."""
    if broken.fault == "unreadable":
        return InvalidRequest("{path} " + _UNREADABLE + ": its header can't be read.", path=path.name)
    if broken.fault == "other size":
        return InvalidRequest(
            "{path} " + _UNREADABLE + ": it has {there} bytes of weights instead of {end}.",
            path=path.name,
            there=broken.there,
            end=broken.wanted,
        )
    if broken.fault == "contradicts itself":
        return InvalidRequest("{path} " + _UNREADABLE + ": its header contradicts itself.", path=path.name)
    return InvalidRequest("{path} " + _UNREADABLE + ": {guess}.", path=path.name, guess=_guess(path))


def _raw(path: Path) -> tuple[bytes, int]:
    """Return the bytes of the header, and the size of the whole file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if size < 10 or not 2 <= length <= _MAX_HEADER:
            raise BrokenHeader("no header")
        if length > size - 8:
            raise BrokenHeader("cut off")
        return file.read(length), size


def _fit(shapes: Mapping[str, TensorShape], dtypes: Mapping[str, str], places: Mapping[str, tuple[int, int]]) -> bool:
    """Return whether every tensor has as many bytes as its shape and type need, and whether they follow one another
    without gaps."""
    for name, (begin, end) in places.items():
        width: Any = BYTES.get(dtypes[name])
        if begin < 0 or end < begin or any(n < 0 for n in shapes[name]):
            return False
        if width is not None and math.prod(shapes[name]) * width != end - begin:
            return False
    return sum(end - begin for begin, end in places.values()) == max((end for _, end in places.values()), default=0)


def _guess(path: Path) -> str:
    """Return what a file without a header is, as the end of a sentence."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        start = b""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return Message("it is empty")
    if text.startswith(b"<"):
        return Message("it is a web page")
    if text.startswith(b"version "):
        return "it is a Git LFS pointer, not the file that it stands for"
    if text.startswith((b'{"', b"{\n", b"{ ")):
        return "it is a text, maybe an error message of a server"
    if start.startswith((b"PK", b"\x80\x02")) and path.suffix.lower() == ".safetensors":
        return "it looks like a pickled checkpoint that was renamed"
    if start.startswith((b"PK", b"\x80\x02")):
        return Message("it looks like a pickled checkpoint")
    if 2 <= int.from_bytes(start[:8], "little") <= _MAX_HEADER and start[8:9] == b"{":
        return "it is truncated within its header"
    return Message("it is truncated or of another format")
