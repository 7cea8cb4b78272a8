"""Reading a clip frame by frame: upright, sRGB of eight bits, at one even rate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.clips import tone
from easyphoto.clips.bounds import MAX_FRAMES, MAX_RATE
from easyphoto.errors import AssetMissing, InvalidRequest, reason
from easyphoto.filenames import shown
from easyphoto.imaging import folder
from easyphoto.ports import Image

MAX_PIXELS = 4096 * 2304
FOLDER_RATE = 8
"""Frames a second of a folder, for which nobody says how fast it is to be shown; the original's own rate."""
SLOWEST = Fraction(1, 1001)
"""The fewest frames a second at which a clip is given."""
ANIMATED = ("GIF", "WEBP", "PNG")
"""Pillow's names of the pictures that may move."""

_LIMITS = MappingProxyType(
    {
        "protocol_whitelist": "file",
        "format_whitelist": "mov,matroska,avi,flv,mpegts,mpeg,mpegvideo,ogg,asf,mxf,h264,hevc,m4v,dv,ivf",
    }
)
"""What FFmpeg may open: one file, in a container that names no others. A playlist in a stranger's file would have it
read whatever the playlist names, here and in the network."""


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before it is read. ``rate``: frames a second at which :func:`frames` gives it.
    ``count``: about how many these are, 0 where the file doesn't tell. ``sound``: whether it has any. ``only``: so many
    frames are given and no more; 0 gives all."""

    path: Path
    width: int
    height: int
    rate: Fraction
    count: int
    sound: bool
    only: int = 0

    @property
    def frames_at_most(self) -> int:
        """About how many frames are given, 0 where nobody knows."""
        return min(self.count, self.only) if self.count and self.only else self.count or self.only


def av() -> Any:
    """The package that reads and writes videos. Raises :class:`AssetMissing`."""
    try:
        import av as package
    except ImportError as error:
        raise AssetMissing("Videos need the package av: install it with `pip install av`.") from error
    return package


def probe(path: Path, max_rate: float = MAX_RATE) -> Clip:
    """What the clip at ``path`` is, by its first frame. It is shown with at most ``max_rate`` frames a second.

    Raises :class:`InvalidRequest` with one sentence for whatever is no clip: a missing file, something else than a
    video, a single picture, an empty folder, too large a frame or too long a clip.
    """
    if path.is_dir():
        return _probe_folder(path, max_rate)
    name = shown(path.name)
    if not path.is_file():
        raise InvalidRequest("{name} does not exist.", name=name)
    if path.stat().st_size == 0:
        raise InvalidRequest("{name} is empty.", name=name)
    return _probe_animated(path, max_rate) if _may_move(path) else _probe_video(path, max_rate)


def frames(clip: Clip) -> Iterator[Image]:
    """The frames of a clip, one after another, at its rate: of a clip of uneven rate the frame that is shown at each
    moment. Raises :class:`InvalidRequest` where the file is damaged before its second frame, and when it goes on after
    :data:`MAX_FRAMES`; what is damaged further on ends there."""
    count = 0
    for image in _even(_timed(clip), clip.rate):
        if count == MAX_FRAMES:
            raise _too_long(clip.path)
        if image.shape[:2] != (clip.height, clip.width):
            raise InvalidRequest("The frames of {name} have different sizes.", name=shown(clip.path.name))
        yield image
        count += 1
        if count == clip.only:
            return
    if count < 2:
        raise InvalidRequest("{name} has only one frame that can be read: it is no clip.", name=shown(clip.path.name))


def _even(timed: Iterator[tuple[Fraction, Image]], rate: Fraction) -> Iterator[Image]:
    """What is shown at 0, 1/rate, 2/rate and so on; each frame lasts until the next, the last one for one tick."""
    tick, begin, last = 0, None, None
    for at, image in timed:
        begin = at if begin is None else begin
        # A tick belongs to the frame that has begun when half of it is over, so that rounded times lose no frame.
        while last is not None and (tick + Fraction(1, 2)) / rate < at - begin:
            yield last
            tick += 1
        last = image
    if last is not None:
        yield last


def _timed(clip: Clip) -> Iterator[tuple[Fraction, Image]]:
    """Each frame of the file with the second at which it begins."""
    if clip.path.is_dir():
        for index, picture in enumerate(folder.listing(clip.path).pictures):
            yield index / clip.rate, pictures.load(picture)
    elif _may_move(clip.path):
        yield from _timed_animated(clip.path)
    else:
        yield from _timed_video(clip.path)


def _rate(own: Fraction, most: float) -> Fraction:
    """Frames a second at which a clip is given that has ``own`` of them: ``most`` at most."""
    return max(min(own, Fraction(most)).limit_denominator(SLOWEST.denominator), SLOWEST)


# --- videos ----------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The container of a video file. Raises :class:`InvalidRequest` when it is none."""
    package = av()
    try:
        container = package.open(str(path), options=dict(_LIMITS))
    except (OSError, ValueError) as error:  # every error of FFmpeg is one of these
        raise InvalidRequest(
            "{name} is not a video that can be read ({reason}).", name=shown(path.name), reason=reason(error)
        ) from error
    with container:
        yield container


def _probe_video(path: Path, max_rate: float) -> Clip:
    with opened(path) as container:
        if not container.streams.video:
            raise InvalidRequest("{name} has sound but no picture.", name=shown(path.name))
        stream = container.streams.video[0]
        given = stream.average_rate or stream.guessed_rate or Fraction(25)
        rate = _rate(Fraction(given), max_rate)
        seconds = _seconds(container, stream)
        if seconds * rate > MAX_FRAMES + 1:
            raise _too_long(path)
        _check_size(path, stream.width, stream.height)
        for _, image in _decoded(container, path):
            height, width = image.shape[:2]
            return Clip(path, width, height, rate, round(seconds * rate), bool(container.streams.audio))
    raise InvalidRequest("{name} has no frame that can be read.", name=shown(path.name))


def _seconds(container: Any, stream: Any) -> Fraction:
    """How long the video lasts, 0 where the file doesn't tell."""
    if stream.duration and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    return Fraction(container.duration or 0, 1_000_000)


def _timed_video(path: Path) -> Iterator[tuple[Fraction, Image]]:
    with opened(path) as container:
        yield from _decoded(container, path)


def _decoded(container: Any, path: Path) -> Iterator[tuple[Fraction, Image]]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    count, at = 0, Fraction(0)
    step = 1 / Fraction(stream.average_rate or 25)
    try:
        for frame in container.decode(stream):
            at = Fraction(frame.pts * frame.time_base) if frame.pts is not None else at + step
            yield at, _upright(_eight_bits(frame), int(frame.rotation))
            count += 1
    except (OSError, ValueError) as error:
        if count < 2:
            raise _damaged(path, error) from error


def _eight_bits(frame: Any) -> Image:
    """The pixels of a frame, sRGB. More than eight bits are rounded; high dynamic range is brought down."""
    if int(frame.color_trc) in (tone.PQ, tone.HLG):
        return tone.to_eight_bits(frame.to_ndarray(format="rgb48le"), int(frame.color_trc))
    image: Image = frame.to_ndarray(format="rgb24")
    return image


def _upright(image: Image, degrees: int) -> Image:
    """``image`` turned as the file says: by ``degrees`` against the clock."""
    return np.ascontiguousarray(np.rot90(image, degrees // 90 % 4)) if degrees else image


# --- animated pictures and folders -----------------------------------------------------------------------------------


def _may_move(path: Path) -> bool:
    """Whether the file is a picture of a format that may move."""
    try:
        with _open(path):
            return True
    except Pillow.DecompressionBombError:
        return True
    except OSError:
        return False


def _open(path: Path) -> Pillow.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # the size is looked at here
        return Pillow.open(path, formats=ANIMATED)


@contextmanager
def _animated(path: Path) -> Iterator[Pillow.Image]:
    """An animated picture. Raises :class:`InvalidRequest` for whatever is wrong with its file while it is read."""
    try:
        with _open(path) as found:
            yield found
    except InvalidRequest:
        raise
    except Exception as error:  # Pillow has no one kind of error for files that are damaged
        raise _damaged(path, error) from error


def _probe_animated(path: Path, max_rate: float) -> Clip:
    with _animated(path) as found:
        _check_size(path, *found.size)
        count = getattr(found, "n_frames", 1)
        if count < 2:
            raise InvalidRequest("{name} is a picture that doesn't move: it is no clip.", name=shown(path.name))
        if count > MAX_FRAMES:
            raise _too_long(path)
        size = found.size
        times = list(_moments(path, found))
    shortest = min(after - before for before, after in pairwise(times))
    rate = _rate(1 / shortest, max_rate)
    count = round(times[-1] * rate) + 1
    if count > MAX_FRAMES:
        raise _too_long(path)
    return Clip(path, *size, rate, count, sound=False)


def _moments(path: Path, found: Pillow.Image) -> Iterator[Fraction]:
    """The second at which each frame of an animated picture begins, while ``found`` stands at that frame."""
    at = Fraction(0)
    for index in range(getattr(found, "n_frames", 1)):
        found.seek(index)
        _check_size(path, *found.size)  # frames of a GIF may enlarge it
        found.load()
        yield at
        # What says 0 or 10 ms is shown for 100 ms by every browser.
        lasts = int(found.info.get("duration") or 0)
        at += Fraction(lasts if lasts > 10 else 100, 1000)


def _timed_animated(path: Path) -> Iterator[tuple[Fraction, Image]]:
    with _animated(path) as found:
        for at in _moments(path, found):
            opaque = Pillow.new("RGBA", found.size, "white")
            opaque.alpha_composite(found.convert("RGBA"))
            yield at, np.asarray(opaque.convert("RGB"))


def _probe_folder(path: Path, max_rate: float) -> Clip:
    listing = folder.listing(path)
    name = shown(path.name)
    if len(listing.pictures) < 2:
        raise InvalidRequest("The folder {name} has fewer than two frames.", name=name)
    if len(listing.pictures) > MAX_FRAMES:
        raise _too_long(path)
    height, width = pictures.load(listing.pictures[0]).shape[:2]
    _check_size(path, width, height)
    rate = _rate(Fraction(FOLDER_RATE), max_rate)
    return Clip(path, width, height, rate, len(listing.pictures), sound=False)


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < 16:
        raise InvalidRequest("{name} is smaller than 16 pixels.", name=shown(path.name))
    if width * height > MAX_PIXELS:
        raise InvalidRequest(
            "{name} has {width} x {height} pixels, more than a clip may have: make it 4096 x 2304 at most.",
            name=shown(path.name),
            width=width,
            height=height,
        )


def _too_long(path: Path) -> InvalidRequest:
    return InvalidRequest(
        "{name} has more than {frames} frames: cut it, or ask for fewer frames a second.",
        name=shown(path.name),
        frames=MAX_FRAMES,
    )


def _damaged(path: Path, error: Exception) -> InvalidRequest:
    return InvalidRequest(
        "{name} is damaged or cut off and can't be read ({why}).", name=shown(path.name), why=reason(error)
    )
