"""Pictures in and out of files: what a person uploads becomes upright sRGB, and nothing half-written is left behind."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import ImageChops, ImageOps, PngImagePlugin, UnidentifiedImageError

from easyphoto.errors import InvalidRequest
from easyphoto.filenames import shown
from easyphoto.imaging import depth, formats, repair, srgb, tiff
from easyphoto.ports import Alpha, Image
from easyphoto.storage.files import write_bytes as write_bytes  # noqa: PLC0414 - it is called by this name

Source: TypeAlias = Path | bytes
"""A picture as it comes: a file, or the bytes of one."""

MAX_PIXELS = 100_000_000
MAX_BYTES = 800 * 2**20
"""Bytes of one file: 100 million pixels of four channels in 16 bits."""
MAX_SIDE = 4096
MAX_AREA = MAX_SIDE**2
"""Pixels that a picture is brought to: a panorama keeps a longer side than a square."""
PHOTO_AREA = 36_000_000
"""The same for photos of a person, whose face may be a small part of them."""
LONGEST = 16_384
"""No side is longer than this, whatever the area: OpenCV moves no pictures of over 32,767."""
PNG_EFFORT = 3
"""How hard the pixels of a PNG are pressed, from 1 to 9. Pillow's usual 6 takes two to three times as long, which is a
second for a portrait of 1536 x 1800, and makes files that are 3 to 8% smaller."""
MAX_SCANS = 200
"""Scans of one JPEG; a progressive one has about ten, and each costs as much time as a picture."""

_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""What undoes each orientation of EXIF."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that was read. ``transparent``: the file lets something shine through, and that was laid on white;
    ``alpha`` is then how opaque each pixel is, (height, width), ``uint8``."""

    image: Image
    transparent: bool = False
    alpha: Alpha | None = None


def load(source: Source, *, max_side: int | None = None, max_area: int = MAX_AREA, name: str | None = None) -> Image:
    """The picture, turned as its EXIF says, alpha laid on white, in sRGB; shrunk to at most ``max_area`` pixels, and
    to ``max_side`` on its long side where that is given. ``name`` is what a sentence calls it, else its file name.

    Raises :class:`InvalidRequest` when it is missing, truncated, no picture, or has over 100 million pixels.
    """
    return read(source, max_side=max_side, max_area=max_area, name=name).image


def read(source: Source, *, max_side: int | None = None, max_area: int = MAX_AREA, name: str | None = None) -> Picture:
    """What :func:`load` gives, with what else is worth telling of the picture."""
    name = name or label(source)
    limit = _Limit(max_side or LONGEST, max_area)
    try:
        _check_file(source, name)
        return _read(source, name, limit)
    except FileNotFoundError:
        raise InvalidRequest("{name} does not exist.", name=name) from None
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest("{name} can't be opened ({reason}).", name=name, reason=reason) from error


def label(source: Source) -> str:
    """What to call a picture in a sentence: its file name, or that it was uploaded."""
    return shown(source.name) if isinstance(source, Path) else "The uploaded picture"


def save_png(path: Path, image: Image, text: Mapping[str, str] | None = None, *, alpha: Alpha | None = None) -> None:
    """Write a PNG with text chunks, whole or not at all; what of a text is half a surrogate pair is written as its
    escape. With ``alpha`` (of the picture's height and width) the white that a picture with transparency was laid on
    is taken out again. Raises :class:`StorageFailed`."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        written = value.encode("utf-8", "backslashreplace").decode()
        info.add_itxt(key, written) if not written.isascii() else info.add_text(key, written)
    buffer = io.BytesIO()
    opaque = image if alpha is None else _off_white(image, alpha)
    Pillow.fromarray(opaque).save(buffer, "PNG", pnginfo=info, compress_level=PNG_EFFORT)
    write_bytes(path, buffer.getvalue())


def save_jpg(path: Path, image: Image, quality: int = 95) -> None:
    """Write a JPEG, whole or not at all. Raises :class:`StorageFailed`."""
    write_bytes(path, jpg_bytes(image, quality))


def jpg_bytes(image: Image, quality: int = 95) -> bytes:
    """The bytes of the file that :func:`save_jpg` writes."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def read_text(path: Path) -> dict[str, str]:
    """The text chunks of a PNG. Raises :class:`InvalidRequest` when it can't be read."""
    try:
        with path.open("rb") as stream, Pillow.open(stream, formats=("PNG",)) as opened:
            _check_size(path.name, *opened.size)
            opened.load()  # what is told may stand behind the pixels
            return {str(k): v for k, v in opened.info.items() if isinstance(v, str)}
    except InvalidRequest:
        raise
    except Exception as error:
        raise InvalidRequest("{path} is not a PNG that can be read ({error}).", path=path.name, error=error) from error


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Limit:
    """To what a picture is shrunk."""

    side: int
    area: int

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """``size`` (width, height), or as much smaller as it must be."""
        scale = min(1.0, min(self.side, LONGEST) / max(size), (self.area / (size[0] * size[1])) ** 0.5)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


class _Damaged(Exception):
    """Whatever a decoder raised at a picture."""


def _check_file(source: Source, name: str) -> None:
    """Only plain files are read, and none that no picture could need: a pipe would be waited for without end."""
    if isinstance(source, bytes):
        size = len(source)
    else:
        found = source.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InvalidRequest("{name} is not a picture that can be read.", name=name)
        size = found.st_size
    if size > MAX_BYTES:
        raise InvalidRequest("{name} is larger than {max_bytes} MB.", name=name, max_bytes=MAX_BYTES // 2**20)


def _read(source: Source, name: str, limit: _Limit) -> Picture:
    first: _Damaged | None = None
    for attempt in _attempts(source):
        try:
            return _decode(attempt, name, limit)
        except _Damaged as error:
            first = first or error
    data = _bytes(source)
    deep = _deep_tiff(data, name, limit)
    if deep is not None:
        return deep
    advice = formats.missing(data[:64], name)
    if advice is not None:
        raise InvalidRequest(advice)
    cause = first.__cause__ if first else None
    if cause is None or isinstance(cause, UnidentifiedImageError):
        raise InvalidRequest(
            "{name} is not a picture that can be read; save it as {readable}.", name=name, readable=formats.READABLE
        )
    why = " ".join(str(cause).split())[:200] or type(cause).__name__
    raise InvalidRequest("{name} is damaged or cut off and can't be read ({why}).", name=name, why=why) from cause


def _attempts(source: Source) -> Iterator[Source]:
    """The file, and then, if that didn't do, what is left of it without its metadata."""
    yield source
    yield from repair.without_metadata(_bytes(source))


def _bytes(source: Source) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _decode(source: Source, name: str, limit: _Limit) -> Picture:
    """The picture at its final size. Raises :class:`_Damaged` for whatever a decoder raises."""
    try:
        with warnings.catch_warnings():
            # Bombs are looked at here, and broken metadata is nothing that a user could mend.
            warnings.simplefilter("ignore")
            with _stream(source) as stream, formats.open_picture(stream) as opened:
                _check_size(name, *opened.size)
                if opened.format in ("JPEG", "MPO"):
                    _check_scans(source, opened, name)
                    opened.draft("RGB", limit.of(opened.size))
                profile = srgb.profile_of(opened, _head(source))
                return _finished(_upright(_plain(opened)), profile, limit)
    except (InvalidRequest, FileNotFoundError):
        raise
    except Pillow.DecompressionBombError:
        raise InvalidRequest(
            "{name} has too many pixels; at most {max_pixels:.0f} million can be read.",
            name=name,
            max_pixels=MAX_PIXELS / 1e6,
        ) from None
    except Exception as error:
        raise _Damaged from error


def _deep_tiff(data: bytes, name: str, limit: _Limit) -> Picture | None:
    """A TIFF of a depth that Pillow doesn't open."""
    header = tiff.header(data)
    if header is None:
        return None
    _check_size(name, header.width, header.height)
    try:
        picture = depth.decode_tiff(data, header)
        if picture is None:
            return None
        turn = _TURNS.get(header.orientation)
        return _finished(picture if turn is None else picture.transpose(turn), header.profile, limit)
    except Exception:  # noqa: BLE001 - a hostile file; what Pillow said of it is told
        return None


def _stream(source: Source) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _head(source: Source) -> bytes:
    with _stream(source) as stream:
        return stream.read(4096)


def _check_size(name: str, width: int, height: int) -> None:
    pixels = width * height
    if pixels > MAX_PIXELS:
        raise InvalidRequest(
            "{name} has {pixels:.0f} million pixels; at most {max_pixels:.0f} can be read.",
            name=name,
            pixels=pixels / 1e6,
            max_pixels=MAX_PIXELS / 1e6,
        )


def _check_scans(source: Source, picture: Pillow.Image, name: str) -> None:
    if picture.info.get("progressive") and _bytes(source).count(b"\xff\xda") > MAX_SCANS:
        raise InvalidRequest(
            "{name} is made of more than {max_scans} scans, which no camera or program writes.",
            name=name,
            max_scans=MAX_SCANS,
        )


def _off_white(image: Image, alpha: Alpha) -> Image:
    """RGBA that gives ``image`` again when it is laid on white."""
    share = alpha[..., None].astype(np.float32) / 255
    colours = 255 - (255 - image.astype(np.float32)) / np.maximum(share, 1 / 255)
    layers = [np.rint(colours.clip(0, 255)).astype(np.uint8), alpha[..., None]]
    result: Image = np.ascontiguousarray(np.concatenate(layers, axis=2))
    return result


def _upright(picture: Pillow.Image) -> Pillow.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - EXIF that can't be read, or not be written back, which this does
        try:
            turn = _TURNS.get(picture.getexif().get(0x0112, 1))
        except Exception:  # noqa: BLE001 - not even read: the picture itself may be whole
            turn = None
        return picture if turn is None else picture.transpose(turn)


def _finished(picture: Pillow.Image, profile: bytes | None, limit: _Limit) -> Picture:
    """A picture in one of the modes of :func:`_plain`, no larger than the limit, in sRGB, on white."""
    picture = _shrunk(picture, limit)
    if picture.mode not in ("LA", "RGBA"):
        return Picture(np.array(srgb.to_srgb(picture, profile), dtype=np.uint8))
    alpha = picture.getchannel("A")
    layer = srgb.to_srgb(picture.convert(picture.mode[:-1]), profile)
    layer.putalpha(alpha)
    white = Pillow.new("RGBA", layer.size, (255, 255, 255, 255))
    image = np.array(Pillow.alpha_composite(white, layer).convert("RGB"), dtype=np.uint8)
    values = np.array(alpha, dtype=np.uint8)
    if values.min() == 255:
        return Picture(image)
    return Picture(image, transparent=True, alpha=values)


def _plain(picture: Pillow.Image) -> Pillow.Image:
    """The picture as it was opened in one of the modes L, LA, RGB, RGBA and CMYK."""
    if depth.is_deep(picture):
        return depth.to_grey(picture)
    if picture.mode == "CMYK":
        # Pillow turns every CMYK of a JPEG round, as Adobe writes it; without Adobe's mark it is as it says.
        plain = picture.format in ("JPEG", "MPO") and "adobe" not in picture.info
        return ImageChops.invert(picture) if plain else picture
    if picture.mode in ("PA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    if picture.mode in ("L", "LA", "RGB", "RGBA"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _shrunk(picture: Pillow.Image, limit: _Limit) -> Pillow.Image:
    size = limit.of(picture.size)
    return picture if size == picture.size else picture.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=2.0)
