"""How values cross between two processes: plain data as JSON, and arrays through memory that both have mapped.

A message is a length and a JSON text on a pipe. Arrays lie in a *segment*, a mapped file that one side writes and the
other reads; the message says where in it. Nothing is unpickled, so neither side can be made to run code by the other,
and the two may run different versions of Python and numpy.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Calibration, Face, FaceParts
from easyphoto.reporting import ReporterVector

MAX_MESSAGE = 64 * 2**20
FIRST_SIZE = 4 * 2**20
_ALIGN = 64
_PARTS = ("face", "skin", "eyes", "brows", "nose", "lips")


class Broken(Exception):
    """The pipe ended, or what came through it is no message."""


# --- messages --------------------------------------------------------------------------------------------------------


def send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message. Raises ``OSError`` when the other side is gone."""
    data = json.dumps(message).encode()
    pipe.write(struct.pack("<I", len(data)) + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None when the other side closed the pipe between two messages. Raises :class:`Broken` when the
    pipe ended within one."""
    head = _read(pipe, 4)
    if not head:
        return None
    if len(head) < 4 or (length := struct.unpack("<I", head)[0]) > MAX_MESSAGE:
        raise Broken("a message was cut off")
    data = _read(pipe, length)
    if len(data) < length:
        raise Broken("a message was cut off")
    try:
        message = json.loads(data)
    except ValueError as error:
        raise Broken("a message is no JSON") from error
    if not isinstance(message, dict):
        raise Broken("a message is no object")
    return message


def _read(pipe: IO[bytes], count: int) -> bytes:
    chunks = []
    while count > 0 and (chunk := pipe.read(count)):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


# --- memory ----------------------------------------------------------------------------------------------------------


class Writer:
    """The side that fills a segment. A segment that is too small is followed by a larger file of another name, because
    some systems can't resize a file that is mapped."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._generation = 0
        self._map: mmap.mmap | None = None
        self._used = 0

    @property
    def path(self) -> Path:
        return self._folder / f"{self._name}-{self._generation}"

    def start(self, size: int) -> None:
        """Begin a message whose arrays take ``size`` bytes. The arrays of the message before are given up."""
        self._used = 0
        if self._map is not None and len(self._map) >= size:
            return
        self.close()
        self._generation += 1
        room = max(FIRST_SIZE, 2 ** (size - 1).bit_length() if size else 0)
        with self.path.open("w+b") as file:
            file.truncate(room)
            self._map = mmap.mmap(file.fileno(), room)

    def put(self, array: NDArray[Any]) -> int:
        """Copy an array into the segment and return its offset."""
        assert self._map is not None
        offset = self._used
        if array.size:
            target = np.frombuffer(self._map, array.dtype, array.size, offset).reshape(array.shape)
            np.copyto(target, array)
        self._used = offset + _room(array)
        return offset

    def close(self) -> None:
        if self._map is not None:
            # Arrays that still look at the old map keep it alive until they go themselves.
            with contextlib.suppress(BufferError):
                self._map.close()
            self._map = None
            # The reader may still have it mapped, and some systems don't let it be removed then. It goes with the
            # folder in the end.
            with contextlib.suppress(OSError):
                self.path.unlink()


class Reader:
    """The side that takes arrays out of segments."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""
        self._map: mmap.mmap | None = None

    def open(self, name: str) -> None:
        if name == self._name:
            return
        self.close()
        with (self._folder / Path(name).name).open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._name = name

    def look(self, offset: int, shape: list[int], dtype: str) -> NDArray[Any]:
        """The array at ``offset``. It may only be read, and only until the other side writes again."""
        count = int(np.prod(shape))
        if count == 0 or self._map is None:
            return np.zeros(shape, np.dtype(dtype))
        return np.frombuffer(self._map, np.dtype(dtype), count, offset).reshape(shape)

    def close(self) -> None:
        if self._map is not None:
            with contextlib.suppress(BufferError):
                self._map.close()
            self._map = None
            self._name = ""


def _room(array: NDArray[Any]) -> int:
    return -(-array.nbytes // _ALIGN) * _ALIGN


# --- values ----------------------------------------------------------------------------------------------------------


def pack(value: Any, writer: Writer) -> dict[str, Any]:
    """A value as a part of a message. Its arrays are written into the writer's segment.

    A value is None, a number, a text, an array, a :class:`Face`, :class:`FaceParts`, :class:`Calibration` or
    :class:`ReporterVector`, or a list, a tuple or a dictionary (with texts as keys) of these. Raises ``TypeError`` for
    anything else. A tuple arrives as a list.
    """
    arrays: list[NDArray[Any]] = []
    body = _flatten(value, arrays)
    writer.start(sum(_room(a) for a in arrays))
    places = [[writer.put(a), list(a.shape), a.dtype.str] for a in arrays]
    return {"body": body, "arrays": places, "segment": writer.path.name}


def unpack(message: dict[str, Any], reader: Reader) -> Any:
    """The value of a message that :func:`pack` made. Its arrays are copies, which belong to the caller."""
    if message["arrays"]:
        reader.open(message["segment"])
    return _restore(message["body"], [reader.look(*place) for place in message["arrays"]])


def _flatten(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _flatten_array(value, arrays)
    if isinstance(value, list | tuple):
        return [_flatten(v, arrays) for v in value]
    if isinstance(value, dict):
        return {"dict": {k: _flatten(v, arrays) for k, v in value.items()}}
    if isinstance(value, Face):
        return {"face": _flatten([list(value.box), value.points, value.landmarks, value.score], arrays)}
    if isinstance(value, FaceParts):
        return {"parts": _flatten([getattr(value, part) for part in _PARTS], arrays)}
    if isinstance(value, Calibration):
        c = value
        values = [c.same_mean, c.same_std, c.stranger_mean, c.stranger_std, c.source, c.far_1, c.far_01]
        return {"calibration": values}
    if isinstance(value, ReporterVector):
        return {"reported": _flatten([value.numbers, value.reporter], arrays)}
    raise TypeError(f"{type(value).__name__} can't be sent to another process")


def _flatten_array(array: NDArray[Any], arrays: list[NDArray[Any]]) -> Any:
    if array.dtype.hasobject:
        raise TypeError("an array of objects can't be sent to another process")
    if array.dtype == np.float32 and array.ndim == 2 and array.size > 4096:
        return _flatten_mask(array, arrays)
    arrays.append(array)
    return {"array": len(arrays) - 1}


def _flatten_mask(mask: NDArray[Any], arrays: list[NDArray[Any]]) -> Any:
    """A mask is mostly empty, so only the box around what is set is sent."""
    # Bits are or-ed because that is many times faster than comparing numbers.
    bits = np.ascontiguousarray(mask).view(np.uint32)
    rows, columns = (np.flatnonzero(np.bitwise_or.reduce(bits, axis=axis)) for axis in (1, 0))
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 0)
    left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 0)
    arrays.append(mask[top:bottom, left:right])
    return {"mask": [len(arrays) - 1, list(mask.shape), top, left]}


def _restore(body: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(body, list):
        return [_restore(v, arrays) for v in body]
    if not isinstance(body, dict):
        return body
    ((kind, content),) = body.items()
    if kind == "array":
        return arrays[content].copy()
    if kind == "mask":
        return _restore_mask(content, arrays)
    if kind == "dict":
        return {k: _restore(v, arrays) for k, v in content.items()}
    if kind == "calibration":
        return Calibration(*content)
    values = _restore(content, arrays)
    if kind == "reported":
        return ReporterVector(*values)
    if kind == "face":
        box, points, landmarks, score = values
        return Face(tuple(box), points, landmarks, score)
    return FaceParts(**dict(zip(_PARTS, values, strict=True)))


def _restore_mask(content: Any, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    index, shape, top, left = content
    region: NDArray[Any] = arrays[index]
    if list(region.shape) == shape:
        return region.copy()
    mask: NDArray[Any] = np.zeros(shape, region.dtype)
    mask[top : top + region.shape[0], left : left + region.shape[1]] = region
    return mask
