"""Pictures in and out of files: what a person uploads becomes upright RGB, and nothing half-written is left behind."""

from __future__ import annotations

import io
import struct
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, PngImagePlugin, UnidentifiedImageError

from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.ports import Image

Source: TypeAlias = Path | bytes
"""A picture as it comes: a file, or the bytes of one."""

MAX_PIXELS = 100_000_000
MAX_SIDE = 4096


def load(source: Source, *, max_side: int = MAX_SIDE) -> Image:
    """The picture, turned as its EXIF says, alpha laid on white, as RGB; its long side at most ``max_side`` pixels.

    Raises :class:`InvalidRequest` when it is missing, truncated, no picture, or has over 100 million pixels.
    """
    name = label(source)
    try:
        with warnings.catch_warnings():
            # Bombs are looked at below, and broken metadata is nothing that a user could mend.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
                pixels = opened.width * opened.height
                if pixels > MAX_PIXELS:
                    raise InvalidRequest(
                        f"{name} has {pixels / 1e6:.0f} million pixels; at most {MAX_PIXELS / 1e6:.0f} can be read."
                    )
                if opened.format == "JPEG":
                    opened.draft("RGB", (max_side, max_side))
                picture = _to_rgb(_upright(opened))
    except FileNotFoundError:
        raise InvalidRequest(f"{name} does not exist.") from None
    except Pillow.DecompressionBombError:
        raise InvalidRequest(
            f"{name} has too many pixels; at most {MAX_PIXELS / 1e6:.0f} million can be read."
        ) from None
    except UnidentifiedImageError:
        raise InvalidRequest(f"{name} is not a picture that can be read.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidRequest(f"{name} is damaged or cut off and can't be read ({error}).") from error
    picture.thumbnail((max_side, max_side), Pillow.Resampling.LANCZOS)
    return np.array(picture, dtype=np.uint8)


def label(source: Source) -> str:
    """What to call a picture in a sentence: its file name, or that it was uploaded."""
    return source.name if isinstance(source, Path) else "The uploaded picture"


def save_png(path: Path, image: Image, text: Mapping[str, str] | None = None) -> None:
    """Write a PNG with text chunks, whole or not at all. Raises :class:`StorageFailed`."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value) if not value.isascii() else info.add_text(key, value)
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "PNG", pnginfo=info)
    write_bytes(path, buffer.getvalue())


def save_jpg(path: Path, image: Image, quality: int = 95) -> None:
    """Write a JPEG, whole or not at all. Raises :class:`StorageFailed`."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    write_bytes(path, buffer.getvalue())


def read_text(path: Path) -> dict[str, str]:
    """The text chunks of a PNG. Raises :class:`InvalidRequest` when it can't be read."""
    try:
        with Pillow.open(path) as opened:
            opened.load()
            return {str(k): v for k, v in opened.info.items() if isinstance(v, str)}
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidRequest(f"{path.name} is not a PNG that can be read ({error}).") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there, so that a reader sees all of it or none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex}.part")
        try:
            beside.write_bytes(data)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageFailed(f"{path.name} could not be written to {path.parent.name}: {reason}.") from error


def _upright(picture: Pillow.Image) -> Pillow.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except (struct.error, TypeError, KeyError, OverflowError):
        # EXIF that can be read but not written back, which this does; the picture itself is whole.
        return picture


def _to_rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Pillow.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")
