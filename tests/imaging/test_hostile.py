"""Tests with broken files of every kind: each gives a picture or one sentence within a bounded time, and nothing is
written."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.errors import InvalidRequest
from easyphoto.imaging import profiles
from tests.imaging.made import chunk, encoded, png_with, tiff

SECONDS = 5.0
"""The most that one small file may take, on a busy machine."""


def samples() -> dict[str, bytes]:
    """A whole file of each kind, with metadata to break."""
    noise = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    picture = Pillow.fromarray(noise)
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    told: dict[str, object] = {"exif": exif, "icc_profile": profiles.icc(profiles.ADOBE_RGB)}
    made = {
        "jpeg": encoded(picture, "JPEG", **told),
        "progressive": encoded(picture, "JPEG", progressive=True, **told),
        "cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "png": encoded(picture, **told),
        "png of text": png_with(picture.convert("P"), chunk(b"gAMA", bytes(4)), chunk(b"tEXt", b"Comment\0text")),
        "deep png": encoded(Pillow.fromarray(noise[..., 0].astype(np.uint16) * 257)),
        "gif": encoded(picture.convert("P"), "GIF", save_all=True, append_images=[picture.convert("L")] * 3),
        "bmp": encoded(picture, "BMP"),
        "ppm": encoded(picture, "PPM"),
        "webp": encoded(picture, "WEBP", **told),
        "tiff": encoded(picture, "TIFF", compression="tiff_lzw", **told),
        "deflated tiff": encoded(picture, "TIFF", compression="tiff_adobe_deflate"),
        "float tiff": tiff((noise / 255).astype(np.float32), 32, 3),
        "12 bits": tiff(noise.astype(np.uint16) * 16, 12),
    }
    if "AVIF" in Pillow.SAVE:
        made["avif"] = encoded(picture, "AVIF", **told)
    return made


def broken(whole: bytes, random: np.random.Generator) -> bytes:
    """Bytes changed, most often near the start, a piece cut out, doubled or moved, or the end lost."""
    data = bytearray(whole)
    for _ in range(random.integers(1, 6)):
        reach = len(data) if random.random() < 0.3 else min(len(data), 400)
        place = int(random.integers(reach))
        way = random.integers(5)
        if way <= 1:
            data[place] = random.integers(256)
        elif way == 2:
            data[place : place + 4] = random.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"]
            )
        elif way == 3:
            piece = data[place : place + int(random.integers(1, 64))]
            data[place:place] = piece
        else:
            del data[place : place + int(random.integers(1, 32))]
        if not data:
            return b""
    return bytes(data[: random.integers(len(data))] if random.random() < 0.15 else data)


def attack(count: int, seed: int, folder: Path) -> None:
    random, whole = np.random.default_rng(seed), list(samples().items())
    before = sorted(folder.rglob("*"))
    for number in range(count):
        kind, sample = whole[number % len(whole)]
        data = broken(sample, random)
        start = time.monotonic()
        try:
            image = pictures.load(data)
            assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8, kind
        except InvalidRequest as error:
            sentence = str(error)
            assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 400, (kind, sentence)
        assert time.monotonic() - start < SECONDS, (kind, number)
    assert sorted(folder.rglob("*")) == before


def test_whole_samples_are_read() -> None:
    for kind, sample in samples().items():
        assert sorted(pictures.load(sample).shape) == [3, 40, 56], kind


def test_two_hundred_hostile_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    attack(200, 5, tmp_path)


@pytest.mark.slow
def test_a_thousand_hostile_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    attack(1000, 11, tmp_path)
