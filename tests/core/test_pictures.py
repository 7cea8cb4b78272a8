"""Tests of pictures: any upload becomes upright RGB or one clear sentence, and a file is written whole or not at
all."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.errors import InvalidRequest, StorageFailed


def encoded(picture: Pillow.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def corner() -> Pillow.Image:
    """White with a red left upper quarter, 40 x 20."""
    picture = Pillow.new("RGB", (40, 20), "white")
    picture.paste((255, 0, 0), (0, 0, 20, 10))
    return picture


def test_exif_orientation_is_applied() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image = pictures.load(encoded(corner(), "JPEG", exif=exif, quality=95))
    assert image.shape == (40, 20, 3)
    assert image[5, 15, 0] > 200 and image[5, 15, 1] < 60
    assert image[5, 4].min() > 200


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "HSV"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = (
        corner().convert("L").convert("I").point(lambda v: v * 257).convert("I;16")
        if mode == "I;16"
        else corner().convert(mode)
    )
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG", "HSV": "TIFF"}.get(mode, "PNG")
    if mode == "HSV":
        source = source.convert("LAB")
    image = pictures.load(encoded(source, kind))
    assert image.dtype == np.uint8 and image.shape == (20, 40, 3)
    assert image[15, 30].min() > 240, "white stays white"


def test_alpha_is_laid_on_white() -> None:
    assert pictures.load(encoded(Pillow.new("RGBA", (4, 4), (0, 0, 0, 0)))).min() == 255
    palette = Pillow.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0] * 256)
    assert pictures.load(encoded(palette, transparency=0)).min() == 255


def test_truncated_empty_and_other_files_are_one_sentence(tmp_path: Path) -> None:
    noise = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = encoded(noise, "JPEG")
    for data in (whole[: len(whole) // 2], b"", b"<html>not found</html>", encoded(noise)[:-2000]):
        with pytest.raises(InvalidRequest) as caught:
            pictures.load(data)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    with pytest.raises(InvalidRequest, match=r"nobody\.jpg does not exist"):
        pictures.load(tmp_path / "nobody.jpg")
    with pytest.raises(InvalidRequest):
        pictures.load(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 11_122, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(InvalidRequest, match="at most 100 million can be read"):
        pictures.load(bomb)


def test_large_pictures_are_brought_to_the_longest_side() -> None:
    image = pictures.load(encoded(Pillow.new("RGB", (5000, 100))), max_side=1000)
    assert image.shape == (20, 1000, 3)


def test_png_keeps_text_in_any_script(tmp_path: Path) -> None:
    path = tmp_path / "画 像.png"
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    pictures.save_png(path, image, {"parameters": "prompt\nSteps: 3", "easyphoto": '{"user": "小明"}'})
    assert np.array_equal(pictures.load(path), image)
    assert pictures.read_text(path) == {"parameters": "prompt\nSteps: 3", "easyphoto": '{"user": "小明"}'}


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk_leaves_no_half_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pictures.save_png(path, np.zeros((4, 4, 3), np.uint8))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        with pytest.raises(StorageFailed, match=r"a\.png could not be written"):
            pictures.save_png(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_broken_bytes_anywhere_are_a_picture_or_a_sentence(kind: str) -> None:
    """Uploads come damaged in every way; none may raise anything but :class:`InvalidRequest`."""
    random = np.random.default_rng(3)
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    buffer = io.BytesIO()
    Pillow.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(buffer, kind, exif=exif)
    whole = buffer.getvalue()
    for turn in range(400):
        data = bytearray(whole)
        for place in random.integers(0, min(len(data), 400), 1 + turn % 4):
            data[place] = random.integers(256)
        kept = bytes(data[: random.integers(len(data))] if turn % 5 == 0 else data)
        with contextlib.suppress(InvalidRequest):
            assert pictures.load(kept).ndim == 3


def test_exif_that_cant_be_written_back_leaves_the_picture_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(picture: Pillow.Image) -> Pillow.Image:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(pictures.ImageOps, "exif_transpose", broken)
    buffer = io.BytesIO()
    Pillow.new("RGB", (5, 4), (9, 8, 7)).save(buffer, "PNG")
    assert (pictures.load(buffer.getvalue()) == (9, 8, 7)).all()
