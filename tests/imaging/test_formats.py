"""Tests of which files are opened at all, and that what a file says about its picture can't spoil the picture."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.cli import main
from easyphoto.errors import InvalidRequest
from easyphoto.imaging import folder, formats
from easyphoto.inference import task
from easyphoto.messages import translated
from tests.imaging.made import chunk, encoded, jpeg_with, png_with, segment

PICTURE = Pillow.new("RGB", (24, 16), (200, 60, 40))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\n0 0 24 16 rectfill\nshowpage\n%%EOF\n"


def refused(data: bytes | Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        pictures.load(data)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 400
    return sentence


def test_an_eps_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ghostscript that would leave a mark stands first on the path; Pillow alone would start it."""
    mark, gs = tmp_path / "started", tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "portrait.eps"
    path.write_bytes(EPS)
    for source in (path, EPS):
        assert "is not a picture that can be read" in refused(source)
    disguised = tmp_path / "portrait.jpg"
    disguised.write_bytes(EPS)
    assert "portrait.jpg is not a picture" in refused(disguised)
    assert not mark.exists()
    if sys.platform != "win32":
        with pytest.raises((OSError, subprocess.SubprocessError)), Pillow.open(path) as opened:
            opened.load()
        assert mark.exists(), "the trap works"


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PSD", "ICNS", "ICO", "TGA", "PCX", "SGI", "XBM", "IM", "DDS", "MSP"])
def test_other_kinds_are_refused(kind: str) -> None:
    if kind == "PSD":
        data = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 24, 8, 3) + bytes(400)
    else:
        data = encoded(PICTURE.convert("1") if kind in ("XBM", "MSP") else PICTURE, kind)
    assert "is not a picture that can be read" in refused(data)


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF"])
def test_the_listed_kinds_are_read(kind: str) -> None:
    if kind not in Pillow.SAVE and kind != "MPO":
        pytest.skip(f"this Pillow writes no {kind}")
    image = pictures.load(encoded(PICTURE, kind))
    assert image.shape == (16, 24, 3) and np.abs(image.astype(int) - (200, 60, 40)).max() < 12


def test_of_many_frames_the_first_is_read() -> None:
    frames = [Pillow.new("RGB", (24, 16), (i, 0, 0)) for i in (250, 10, 20)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert pictures.load(data)[8, 8, 0] > 240


def heif(*brands: bytes) -> bytes:
    return struct.pack(">I", 16 + 4 * len(brands)) + b"ftyp" + brands[0] + bytes(4) + b"".join(brands) + bytes(100)


@pytest.mark.parametrize("brands", [(b"heic", b"mif1"), (b"mif1", b"heic"), (b"heix",), (b"msf1", b"hevc")])
def test_heic_is_named_with_what_to_do(brands: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "readable", lambda: ("JPEG", "PNG"))
    assert "install the package pillow-heif to read it, or save it as JPEG" in refused(heif(*brands))
    assert "Pillow to 11.3" in refused(heif(b"avif", b"mif1"))


def test_a_folder_tells_what_it_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "readable", lambda: ("JPEG", "PNG", "AVIF"))
    for name in ("b.JPG", "a.jfif", "c.avif", "d.HEIC", "d.txt", ".hidden", "._b.JPG", "clip.mov", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub").mkdir()
    found = folder.listing(tmp_path)
    assert [p.name for p in found.pictures] == ["a.jfif", "b.JPG", "c.avif"]
    assert [p.name for p in found.passed_over] == ["clip.mov", "d.HEIC"]
    assert found.notice.startswith("Passed over: clip.mov, d.HEIC; ")
    (tmp_path / "clip.mov").unlink()
    assert "pillow-heif" in folder.listing(tmp_path).notice, "all that is passed over is HEIC"
    (tmp_path / "d.HEIC").unlink()
    assert folder.listing(tmp_path).notice == ""
    many = folder.listed([Path(f"{i}.cr2") for i in range(9)])
    assert not many.pictures and "4.cr2 and 4 more" in many.notice
    assert "4.cr2 等另外 4 个" in translated(many.notice, "zh"), "no English is left in the middle of a sentence"
    assert "\ufffd.cr2" in folder.listed([Path("\udcff.cr2")]).notice, "a name that is no text can still be shown"


# --- what is said about a picture ------------------------------------------------------------------------------------

LONG = b"x" * (3 * 2**20)
BROKEN_PNG_CHUNKS = {
    "a text bomb": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 * 2**20))),
    "a long text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG)),
    "many texts": b"".join(chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(LONG[: 2**20 - 1])) for i in range(80)),
    "an unknown compression": chunk(b"zTXt", b"Comment\0\7abc"),
    "a profile bomb": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(100 * 2**20))),
    "a broken profile": chunk(b"iCCP", b"icc\0\0notzlib"),
    "no resolution": chunk(b"pHYs", b"\0"),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "a wrong checksum": chunk(b"tEXt", b"Comment\0hello")[:-4] + b"abcd",
    "a broken EXIF": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "a short cHRM": chunk(b"cHRM", b"\1\2\3"),
}


@pytest.mark.parametrize("broken", BROKEN_PNG_CHUNKS.values(), ids=BROKEN_PNG_CHUNKS)
def test_a_whole_png_is_read_whatever_is_said_about_it(broken: bytes) -> None:
    assert (pictures.load(png_with(PICTURE, broken)) == (200, 60, 40)).all()


EXIF = b"Exif\0\0"
BROKEN_SEGMENTS = {
    "no TIFF in the EXIF": segment(0xE1, EXIF + b"garbage"),
    "an EXIF that points outside": segment(0xE1, EXIF + b"MM\0*\xff\xff\xff\xf0"),
    "an EXIF of odd kinds": segment(0xE1, EXIF + b"II*\0\x08\0\0\0\x02\0" + b"\x12\x01\xff\xff\xff\0\0\0\0\0\0\0" * 2),
    "an EXIF that loops": segment(0xE1, EXIF + b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"),
    "a length over the end": segment(0xE1, EXIF + b"MM\0*", length=65000),
    "a length that cuts": segment(0xE1, EXIF + b"MM\0*" + b"a" * 50, length=12),
    "half a profile": segment(0xE2, b"ICC_PROFILE\0\1\3" + b"x" * 100),
    "a profile without a number": segment(0xE2, b"ICC_PROFILE\0"),
    "broken pictures": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
    "a short Photoshop block": segment(0xED, b"Photoshop 3.0\08BIM\x03\xed\0\0\0\0\xff\xff"),
    "a short Adobe mark": segment(0xED, b"Adobe"),
    "XMP without an end": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
    "a long comment": b"".join(segment(0xFE, b"c" * 65000) for _ in range(100)),
}


@pytest.mark.parametrize("broken", BROKEN_SEGMENTS.values(), ids=BROKEN_SEGMENTS)
def test_a_whole_jpeg_is_read_whatever_is_said_about_it(broken: bytes) -> None:
    image = pictures.load(jpeg_with(PICTURE, broken))
    assert image.shape == (16, 24, 3) and np.abs(image.astype(int) - (200, 60, 40)).max() < 6


def test_a_broken_profile_leaves_the_exif_in_force() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    whole = encoded(PICTURE, exif=exif)
    broken = whole[:33] + chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2**24))) + whole[33:]
    assert pictures.load(broken).shape == (24, 16, 3)


def test_a_tiff_with_odd_tags_is_read() -> None:
    whole = bytearray(encoded(PICTURE, "TIFF", compression="tiff_lzw", dpi=(72, 72)))
    start = struct.unpack_from("<I", whole, 4)[0]
    for i in range(struct.unpack_from("<H", whole, start)[0]):
        place = start + 2 + 12 * i
        if struct.unpack_from("<H", whole, place)[0] in (282, 283, 296, 305, 306):
            struct.pack_into("<HII", whole, place + 2, 2, 0x7FFFFFF0, 0xFFFFFFF0)
    assert (pictures.load(bytes(whole)) == (200, 60, 40)).all()


# --- what would cost too much ----------------------------------------------------------------------------------------


def test_scans_without_end_are_refused() -> None:
    noise = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = encoded(noise, "JPEG", progressive=True)
    last = whole.rfind(b"\xff\xda")
    assert "more than 200 scans" in refused(whole[:-2] + whole[last:-2] * 300 + whole[-2:])


def test_a_pipe_and_a_device_are_no_pictures(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has neither")
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), tmp_path):
        assert "is not a picture that can be read" in refused(path)
    assert "can't be opened" in refused(tmp_path / ("a" * 300 + ".jpg"))
    assert "can't be opened" in refused(tmp_path / "a\0.jpg")


BOMBS = """
import resource, struct, sys, zlib
from PIL import Image as Pillow
from tests.imaging.made import PNG, chunk, encoded
from easyphoto import pictures
from easyphoto.cli import main
from easyphoto.errors import InvalidRequest
pictures.load(PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(20))) + chunk(b"IEND", b""))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
head = lambda w, h: chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 6, 0, 0, 0))
gif = b"GIF89a" + struct.pack("<HH", 60000, 60000) + b"\\x80\\0\\0" + bytes(6) + b","
gif += struct.pack("<HHHH", 0, 0, 60000, 60000) + b"\\0\\2\\2L\\1\\0;"
one = encoded(Pillow.new("P", (64, 64)), "GIF")
start = one.index(b",", 13 + 3 * 2 ** ((one[10] & 7) + 1))
frames = one[:start] + one[start:-1] * 100_000 + b";"
bombs = [
    PNG + head(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
    PNG + head(11_000, 11_000) + chunk(b"IDAT", zlib.compress(bytes(2**24))) + chunk(b"IEND", b""),
    b"II*\\0\\x08\\0\\0\\0" + struct.pack("<H", 3) + struct.pack("<HHII", 256, 4, 1, 2**31)
        + struct.pack("<HHII", 257, 4, 1, 2**31) + struct.pack("<HHII", 258, 4, 1, 64) + bytes(4),
    b"P6 200000 200000 255\\n", b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 100000, 100000, 1, 24, 0) + bytes(40),
    gif, b"RIFF\\x1e\\0\\0\\0WEBPVP8L\\x11\\0\\0\\0\\x2f\\xff\\xff\\xff\\x0f" + bytes(12),
]
for data in bombs:
    try:
        pictures.load(data)
        sys.exit("a bomb went through: %r" % data[:20])
    except InvalidRequest as error:
        assert str(error).endswith("."), error
pictures.load(frames)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert used < 150_000, used
"""


def test_bombs_cost_no_memory() -> None:
    """In a process of its own, whose greatest use of memory is its own too."""
    if sys.platform == "win32":
        pytest.skip("needs the resource module")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", BOMBS], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_text_of_a_png_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "recipe.png"
    path.write_bytes(png_with(PICTURE, BROKEN_PNG_CHUNKS["a text bomb"]))
    with pytest.raises(InvalidRequest, match=r"recipe\.png is not a PNG that can be read"):
        pictures.read_text(path)
    path.write_bytes(EPS)
    with pytest.raises(InvalidRequest):
        pictures.read_text(path)


def test_a_transparent_template_keeps_its_transparency() -> None:
    glass = Pillow.new("RGBA", (24, 16), (200, 60, 40, 255))
    assert task.read(encoded(glass), 0).alpha is None
    glass.putpixel((3, 3), (0, 0, 0, 90))
    assert task.read(encoded(glass), 0).alpha is not None
    assert task.read(encoded(PICTURE), 0).alpha is None


def test_the_command_line_tells_what_a_folder_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jfif").write_bytes(b"")
    (tmp_path / "b.cr2").write_bytes(b"")
    assert [p.name for p in main._pictures([tmp_path])] == ["a.jfif"]
    assert "Passed over: b.cr2; " in capsys.readouterr().err
    (tmp_path / "a.jfif").unlink()
    with pytest.raises(InvalidRequest, match=r"no pictures in the folder .* Passed over: b\.cr2"):
        main._pictures([tmp_path])
