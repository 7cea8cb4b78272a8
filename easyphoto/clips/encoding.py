"""Writing a clip frame by frame, whole or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import GifImagePlugin
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.clips.bounds import FORMATS, FRAMES
from easyphoto.clips.decoding import Clip, av, opened
from easyphoto.errors import AssetMissing, InvalidRequest, StorageFailed, reason
from easyphoto.filenames import shown
from easyphoto.messages import Message
from easyphoto.ports import Image
from easyphoto.storage import files

CODECS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"mp4": ("libx264", "libopenh264", "mpeg4"), "webm": ("libvpx-vp9", "libvpx")}
)
"""The encoders of each container, the best first; a build of FFmpeg has some of them."""
SOUND: Mapping[str, tuple[frozenset[str], str]] = MappingProxyType(
    {
        "mp4": (frozenset({"aac", "mp3", "ac3", "eac3", "alac"}), "aac"),
        "webm": (frozenset({"opus", "vorbis"}), "libopus"),
    }
)
"""The sound that goes into each container as it is, and the encoder that every other sound goes through."""
BT709 = 1
"""The number of its matrix, primaries and transfer function in ITU-T H.273."""
QUALITY = "18"
"""Constant quality of a video, for H.264 and VP9 alike: hardly to be told from the frames."""


HELD = 4 * 2**30
"""The most bytes that the frames of a WebP may take, all of which are held in memory until it is written."""


def check(kind: str, clip: Clip) -> None:
    """Raise :class:`InvalidRequest` where the frames of ``clip`` would take too much memory to be written."""
    needed = 3 * clip.frames_at_most * clip.width * clip.height
    if kind == "webp" and needed > HELD:
        raise InvalidRequest(
            "A WebP of this clip would take {needed:.0f} GB of memory, more than {most:.0f}: choose mp4, webm or gif, "
            "or fewer frames.",
            needed=needed / 2**30,
            most=HELD / 2**30,
        )


@dataclass(frozen=True)
class Writing:
    """How frames become a clip. ``sound``: a clip whose sound goes with them, for as long as the frames last.
    ``about``: what is written into the file beside them, as text. ``notice`` is called with a sentence where something
    came out otherwise than one would expect."""

    rate: Fraction
    sound: Path | None = None
    about: str = ""
    notice: Callable[[str], None] | None = None

    def say(self, message: str) -> None:
        """Give the sentence to whoever wants to know."""
        if self.notice is not None:
            self.notice(message)


def write(path: Path, images: Iterable[Image], writing: Writing) -> None:
    """Write the frames to ``path``, whose ending says how: ``.mp4``, ``.webm``, ``.gif``, ``.webp``, and none for a
    folder of PNGs. A video with an odd side grows by one pixel there.

    The file is there when it is whole. Raises :class:`InvalidRequest` for no frames and for another ending,
    :class:`StorageFailed` when it can't be written.
    """
    kind = path.suffix[1:].lower() or FRAMES
    if kind not in FORMATS:
        raise InvalidRequest("A clip can't be written as {kind}: choose {kinds}.", kind=kind, kinds=", ".join(FORMATS))
    source = iter(images)
    first = next(source, None)
    if first is None:
        raise InvalidRequest("There are no frames to write.")
    part = path.with_name(f".{path.stem}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.remove(part)  # what a kill has left
        every = itertools.chain([first], source)
        if kind in CODECS:
            _write_video(part, kind, every, writing)
        elif kind == FRAMES:
            _write_folder(part, every)
        else:
            _write_animated(part, kind, every, writing)
        part.replace(path)
    except OSError as error:
        raise StorageFailed(
            "The clip can't be written to {shown}: {reason}.", shown=shown(path.name), reason=reason(error)
        ) from error
    finally:
        with suppress(OSError):
            files.remove(part)


# --- videos ----------------------------------------------------------------------------------------------------------


def _write_video(part: Path, kind: str, images: Iterator[Image], writing: Writing) -> None:
    package = av()
    first = _even_sides(next(images))
    with package.open(str(part), "w", format=kind) as container:
        if writing.about:
            container.metadata["comment"] = writing.about
        stream = container.add_stream(_encoder(package, kind, writing), rate=writing.rate)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        # Said in the file, as players guess otherwise, and each guesses differently.
        colours = stream.codec_context
        colours.colorspace = colours.color_primaries = colours.color_trc = BT709
        colours.color_range = 1
        stream.options = {"crf": QUALITY, **({"b": "0"} if kind == "webm" else {})}
        if stream.name == "mpeg4":
            stream.options = {"qscale": "3"}
        sound = _Sound(container, kind, writing) if writing.sound is not None else None
        count = 0
        for image in itertools.chain([first], map(_even_sides, images)):
            pixels = package.VideoFrame.from_ndarray(image, format="rgb24")
            frame = pixels.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = count, 1 / writing.rate
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
        if sound is not None:
            sound.write(count / writing.rate)


def _encoder(package: Any, kind: str, writing: Writing) -> str:
    """The name of the best encoder for the container that this build of FFmpeg has."""
    for name in CODECS[kind]:
        try:
            package.codec.Codec(name, "w")
        except ValueError:
            continue
        if name == "mpeg4":
            writing.say(Message("This build of FFmpeg has no H.264: the video is MPEG-4, which some players refuse."))
        return name
    raise AssetMissing("The package av that is installed can't write {kind}: choose another format.", kind=kind)


def _even_sides(image: Image) -> Image:
    """``image`` with even sides, which every player wants: an odd side repeats its last pixels."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image)
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class _Sound:
    """The sound of another clip on its way into a container."""

    def __init__(self, container: Any, kind: str, writing: Writing) -> None:
        self._container, self._writing = container, writing
        self._stream: Any = None
        self._copied = False
        passed, encoder = SOUND[kind]
        assert writing.sound is not None
        with opened(writing.sound) as source:
            if not source.streams.audio:
                return
            theirs = source.streams.audio[0]
            self._copied = theirs.codec_context.name in passed
            # The stream has to be there before the first frame is written; its packets come behind the last.
            if self._copied:
                self._stream = container.add_stream_from_template(theirs)
            else:
                rate = 48000 if kind == "webm" else theirs.codec_context.sample_rate
                self._stream = container.add_stream(encoder, rate=rate)

    def write(self, seconds: Fraction) -> None:
        """Write the first ``seconds`` of the sound, from the first frame on. Sound that is damaged ends with a
        notice."""
        if self._stream is None or self._writing.sound is None:
            return
        try:
            with opened(self._writing.sound) as source:
                for packet in self._copy(source, seconds) if self._copied else self._encode(source, seconds):
                    self._container.mux(packet)
        except (OSError, ValueError) as error:
            self._writing.say(Message("The sound could not be taken over whole: {reason}.", reason=reason(error)))

    def _copy(self, source: Any, seconds: Fraction) -> Iterator[Any]:
        for packet in _between(source.demux(source.streams.audio[0]), _begin(source), seconds):
            if packet.dts is not None:
                packet.stream = self._stream
                yield packet

    def _encode(self, source: Any, seconds: Fraction) -> Iterator[Any]:
        for frame in _between(source.decode(source.streams.audio[0]), _begin(source), seconds):
            yield from self._stream.encode(frame)
        yield from self._stream.encode(None)


def _begin(source: Any) -> Fraction:
    """The second at which the pictures of a container begin, which isn't 0 in what was broadcast or cut."""
    stream = source.streams.video[0] if source.streams.video else None
    if stream is None or stream.start_time is None:
        return Fraction(0)
    return Fraction(stream.start_time * stream.time_base)


def _between(parts: Iterable[Any], begin: Fraction, seconds: Fraction) -> Iterator[Any]:
    """The packets or frames of sound that are heard in the first ``seconds`` from ``begin`` on, which becomes 0."""
    for part in parts:
        if part.pts is not None:
            ahead = round(begin / part.time_base)
            part.pts -= ahead
            if part.dts is not None:
                part.dts -= ahead
            if part.pts * part.time_base >= seconds:
                return
            if ahead and part.pts < 0:
                continue
        yield part


# --- animated pictures and folders -----------------------------------------------------------------------------------


def _write_animated(part: Path, kind: str, images: Iterator[Image], writing: Writing) -> None:
    if writing.sound is not None:
        writing.say(Message("A {kind} has no sound: the clip's is left out.", kind=kind))
    made = (Pillow.fromarray(image) for image in images)
    if kind == "webp":
        first = next(made)
        lasts = round(1000 / writing.rate)
        first.save(part, "WEBP", save_all=True, append_images=made, duration=lasts, loop=0, quality=90, method=4)
    else:
        _write_gif(part, made, writing)


def _write_gif(part: Path, images: Iterator[Pillow.Image], writing: Writing) -> None:
    """Frame by frame, each with its own colours; Pillow's own way holds all of them before it writes the first."""
    # A GIF counts hundredths of a second in two bytes, and every browser shows one of them for ten.
    lasts = 10 * min(max(round(100 / writing.rate), 2), 2**16 - 1)
    about = writing.about.encode()[:60_000]
    with part.open("wb") as file:
        for index, image in enumerate(images):
            frame = image.quantize(256, method=Pillow.Quantize.MEDIANCUT)
            if index == 0:
                header, _ = GifImagePlugin.getheader(frame, info={"loop": 0, "duration": lasts, "comment": about})
                file.writelines(header)
            file.writelines(GifImagePlugin.getdata(frame, duration=lasts, include_color_table=True))
        file.write(b";")


def _write_folder(part: Path, images: Iterator[Image]) -> None:
    part.mkdir()
    for index, image in enumerate(images):
        pictures.save_png(part / f"{index:06}.png", image)
