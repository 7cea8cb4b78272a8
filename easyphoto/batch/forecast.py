"""What a batch will take: how many portraits, how long at the pace that was measured here, and how much disk."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image as Pillow

from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import StorageFailed
from easyphoto.messages import Message, joined
from easyphoto.pace import ENOUGH
from easyphoto.pictures import MAX_AREA, MAX_SIDE, Source
from easyphoto.storage import files

REMEMBERED = 50
"""Measured times that are kept for each base model."""
_CHANNELS = 3
"""Bytes of a pixel: a PNG is hardly ever larger than its pixels."""
_ENLARGED = 4
"""How many times more pixels an enlarged portrait has at most."""


class PaceBook:
    """How long things took here, kept in the data folder: seconds a step for each base model."""

    def __init__(self, paths: Paths) -> None:
        self._file = paths.outputs / "easyphoto-pace.json"

    def took(self, what: str, steps: float, seconds: float) -> None:
        """Remember one portrait or training on the base model ``what``. That it can't be written is no loss."""
        times = self._read()
        times[what] = [*times.get(what, []), seconds / max(1.0, steps)][-REMEMBERED:]
        try:
            files.write_json(self._file, times)
        except StorageFailed:
            return

    def seconds(self, what: str, steps: float) -> float | None:
        """How long so many steps usually take; None while too few times are known."""
        times = self._read().get(what, [])
        return median(times) * max(1.0, steps) if len(times) >= ENOUGH else None

    def _read(self) -> dict[str, list[float]]:
        try:
            data = files.read_json(self._file)
            return {str(name): [float(one) for one in times] for name, times in data.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


class Stopwatch:
    """The time between the ends of things that are made one after another, or several at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = self._clock()
        lap, self._last = now - self._last, now
        return lap


@dataclass(frozen=True)
class Forecast:
    """``total`` portraits or trainings, of which ``there`` are made; the rest takes about ``seconds`` (None: not known)
    and at most ``bytes`` (None: not known), where ``free`` are free (None: the drive isn't there)."""

    total: int
    there: int
    seconds: float | None
    bytes: int | None
    free: int | None
    what: str = "portraits"

    @property
    def missing(self) -> int:
        return self.total - self.there

    def data(self) -> dict[str, Any]:
        """The forecast as JSON data."""
        return {
            "total": self.total,
            "there": self.there,
            "missing": self.missing,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "free": self.free,
        }

    def sentences(self) -> list[str]:
        """The forecast for people."""
        counted = Message(
            "{total} {what}: {there} are there, {missing} are to be made.",
            total=self.total,
            what=Message(self.what),
            there=self.there,
            missing=self.missing,
        )
        return [counted, *([self._time(), self._disk()] if self.missing else [])]

    def _time(self) -> str:
        if self.seconds is None:
            return Message("How long that takes is not known: too few were made on this base model.")
        return Message("That takes about {time} at the pace measured here.", time=duration(self.seconds))

    def _disk(self) -> str:
        if self.bytes is None:
            return Message("How much disk it takes is not known: nobody was trained here yet.")
        size = Message("It takes at most {size:,.0f} MB of disk", size=max(1.0, self.bytes / 2**20))
        if self.free is None:
            return joined([size, Message("and that drive isn't there.")], ", ")
        free = Message("{free:,.0f} MB are free.", free=self.free / 2**20)
        short = [Message("That is not enough.")] if self.free < self.bytes else []
        return joined([joined([size, free], "; "), *short], " ")


def duration(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 90:
        return Message("{count:.0f} seconds", count=max(1.0, seconds))
    if seconds < 5400:
        return Message("{count:.0f} minutes", count=seconds / 60)
    return Message("{count:.1f} hours", count=seconds / 3600)


def bytes_of(source: Source | None, config: PortraitConfig) -> int:
    """How large a portrait's file is at most, as far as the header of its template says."""
    pixels = config.text_to_image_width * config.text_to_image_height if source is None else _pixels(source)
    if config.super_resolution and config.super_resolution_method != "gpen":
        pixels = min(pixels * _ENLARGED, MAX_SIDE**2)
    return pixels * _CHANNELS


def _pixels(source: Source) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
                return min(opened.width * opened.height, MAX_AREA)
    # Deep TIFFs and the like, which Pillow alone doesn't open, count as the largest there is.
    except Exception:  # noqa: BLE001 - a header may be broken in any way; the template itself was looked at
        return MAX_AREA


def total_bytes(portraits: Iterable[tuple[Source | None, PortraitConfig]]) -> int:
    """The same for many, each template looked at once."""
    known: dict[tuple[Source | None, bool], int] = {}
    total = 0
    for source, config in portraits:
        larger = config.super_resolution and config.super_resolution_method != "gpen"
        key = (source, larger)
        if source is None or key not in known:
            known[key] = bytes_of(source, config)
        total += known[key]
    return total


def total_seconds(book: PaceBook, wanted: Iterable[tuple[str, float]]) -> float | None:
    """How long all of ``wanted`` take, each a base model and its steps; None where one of them isn't known."""
    summed: dict[str, float] = {}
    for what, steps in wanted:
        summed[what] = summed.get(what, 0.0) + max(1.0, steps)
    times = [book.seconds(what, steps) for what, steps in summed.items()]
    known = [one for one in times if one is not None]
    return sum(known) if len(known) == len(times) else None
