"""Tests that colours stay the same however a file writes them: with profiles, EXIF or PNG's chunks."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from easyphoto import pictures
from easyphoto.imaging import profiles
from easyphoto.imaging.profiles import Space
from tests.imaging.made import chunk, encoded, png_with

PRO_PHOTO = Space((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585), 1.8)
COLOURS = np.array([[[200, 60, 40], [60, 180, 70], [50, 80, 190], [222, 170, 140], [128, 128, 128], [250, 250, 250]]])


def linear(values: NDArray[np.float64], space: Space) -> NDArray[np.float64]:
    if space.gamma is not None:
        return values**space.gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def written_in(space: Space) -> Pillow.Image:
    """`COLOURS`, as numbers of ``space``: reckoned here without the code that is tested."""

    def to_xyz(of: Space) -> NDArray[np.float64]:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (of.red, of.green, of.blue)]).T
        x, y = of.white
        white = np.array([x / y, 1, (1 - x - y) / y])
        cat = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
        d65 = np.array([0.9505, 1, 1.0891])
        return (
            np.linalg.inv(cat) @ np.diag(cat @ d65 / (cat @ white)) @ cat @ (columns * np.linalg.solve(columns, white))
        )

    light = linear(COLOURS / 255, profiles.SRGB) @ to_xyz(profiles.SRGB).T @ np.linalg.inv(to_xyz(space)).T
    light = np.clip(light, 0, 1)
    if space.gamma is not None:
        numbers = light ** (1 / space.gamma)
    else:
        numbers = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    small = np.rint(numbers * 255).astype(np.uint8)
    return Pillow.fromarray(np.kron(small, np.ones((16, 16, 1), np.uint8)))


def error_of(data: bytes) -> float:
    image = pictures.load(data)
    return float(np.abs(image[8, 8::16].astype(float) - COLOURS[0]).max())


SPACES = {"AdobeRGB": profiles.ADOBE_RGB, "P3": profiles.DISPLAY_P3, "2020": profiles.REC_2020, "ProPhoto": PRO_PHOTO}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_a_profile_is_brought_to_srgb(space: Space, kind: str) -> None:
    picture, profile = written_in(space), profiles.icc(space)
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    if kind == "AVIF" and kind not in Pillow.SAVE:
        pytest.skip("this Pillow writes no AVIF")
    data = encoded(picture, kind, icc_profile=profile, **lossless.get(kind, {}))
    assert error_of(data) <= (6 if kind in ("JPEG", "AVIF") else 4)
    assert error_of(encoded(picture, kind, **lossless.get(kind, {}))) > 6, "without the profile it would be wrong"


def test_srgb_stays_bit_for_bit() -> None:
    noise = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (own, profiles.icc(profiles.SRGB)):
        assert np.array_equal(pictures.load(encoded(noise, icc_profile=profile)), np.asarray(noise))


def test_alpha_and_palettes_keep_their_profile() -> None:
    picture, profile = written_in(profiles.ADOBE_RGB), profiles.icc(profiles.ADOBE_RGB)
    glass = picture.convert("RGBA")
    assert error_of(encoded(glass, icc_profile=profile)) <= 4
    assert error_of(encoded(picture.quantize(16, dither=Pillow.Dither.NONE), icc_profile=profile)) <= 5


def test_exif_tells_adobe_rgb_without_a_profile() -> None:
    picture = written_in(profiles.ADOBE_RGB)
    told = Pillow.Exif()
    told.get_ifd(0x8769)[0xA001] = 0xFFFF
    told.get_ifd(0x8769)[0xA005] = {1: "R03"}
    assert error_of(encoded(picture, "JPEG", quality=100, subsampling=0, exif=told)) <= 6
    two = Pillow.Exif()
    two.get_ifd(0x8769)[0xA001] = 2
    assert error_of(encoded(picture, "JPEG", quality=100, subsampling=0, exif=two)) <= 6
    plain = Pillow.Exif()
    plain.get_ifd(0x8769)[0xA001] = 1
    assert error_of(encoded(picture, "JPEG", quality=100, subsampling=0, exif=plain)) > 6


def test_pngs_own_chunks_tell_colours() -> None:
    adobe = profiles.ADOBE_RGB
    places = [v for xy in (adobe.white, adobe.red, adobe.green, adobe.blue) for v in xy]
    chromaticity = chunk(b"cHRM", b"".join(struct.pack(">I", round(v * 100_000)) for v in places))
    gamma = chunk(b"gAMA", struct.pack(">I", round(100_000 / 2.2)))
    assert error_of(png_with(written_in(adobe), gamma, chromaticity)) <= 5
    assert error_of(png_with(written_in(profiles.DISPLAY_P3), chunk(b"cICP", bytes([12, 13, 0, 1])))) <= 4
    light = Space(profiles.SRGB.red, profiles.SRGB.green, profiles.SRGB.blue, gamma=1.0)
    assert error_of(png_with(written_in(light), chunk(b"gAMA", struct.pack(">I", 100_000)))) <= 6
    srgb = written_in(profiles.SRGB)
    assert error_of(png_with(srgb, gamma)) == 0 and error_of(png_with(srgb, chunk(b"sRGB", b"\0"), gamma)) == 0
    assert error_of(png_with(srgb, chunk(b"cHRM", bytes(32)), gamma)) == 0, "nonsense is as if nothing were told"


def test_grey_and_cmyk_profiles() -> None:
    ramp = Pillow.fromarray(np.tile(np.arange(256, dtype=np.uint8), (8, 1)))
    curve = np.rint(((np.arange(256) / 255) ** (1.0 / 1.0)) * 65535).astype(">u2").tobytes()
    image = pictures.load(encoded(ramp, icc_profile=grey_profile(curve)))
    expected = 255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055)
    assert abs(float(image[4, 128].mean()) - expected) <= 2, "linear grey is brighter in sRGB"


def grey_profile(curve: bytes) -> bytes:
    """A version 2 profile for one channel with a curve of 256 entries."""
    xyz = b"XYZ " + bytes(4) + struct.pack(">iii", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    tags = {b"desc": text, b"wtpt": xyz, b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 256) + curve}
    table, data = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = (
        struct.pack(">I", start + len(data)) + bytes(4) + b"\x02\x40\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    )
    head += struct.pack(">iii", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + table + data


@pytest.mark.parametrize("profile", [b"x", b"\0" * 500, profiles.icc(profiles.ADOBE_RGB)[:200], b"\xff" * 5000])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "RGBA"])
def test_a_broken_profile_is_as_none(profile: bytes, mode: str) -> None:
    picture = Pillow.new("RGB", (8, 8), (200, 60, 40)).convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert np.array_equal(
        pictures.load(encoded(picture, kind, icc_profile=profile)), pictures.load(encoded(picture, kind))
    )


def test_a_profile_for_other_colours_is_left_alone() -> None:
    picture = Pillow.new("RGB", (8, 8), (200, 60, 40))
    grey = grey_profile(np.arange(256).astype(">u2").tobytes())
    assert (pictures.load(encoded(picture, icc_profile=grey)) == (200, 60, 40)).all()


def test_cmyk_of_adobe_and_of_others() -> None:
    """Adobe writes CMYK the other way round and says so; without its mark the numbers are as they say."""
    picture = Pillow.new("RGB", (16, 16), (200, 60, 40)).convert("CMYK")
    whole = encoded(picture, "JPEG", quality=100)
    mark = whole.find(b"\xff\xeeAdobe"[:2])
    assert np.abs(pictures.load(whole)[8, 8].astype(int) - (200, 60, 40)).max() <= 4
    length = struct.unpack_from(">H", whole, mark + 2)[0]
    unmarked = whole[:mark] + whole[mark + 2 + length :]
    turned = Pillow.eval(picture, lambda v: 255 - v)
    assert np.abs(pictures.load(unmarked)[8, 8].astype(int) - np.asarray(turned.convert("RGB"))[8, 8]).max() <= 4
