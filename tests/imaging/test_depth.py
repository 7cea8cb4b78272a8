"""Tests that samples of every depth show the same ramp."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.errors import InvalidRequest
from tests.imaging.made import encoded, tiff

GREY = np.tile(np.linspace(0, 1, 64), (16, 1))
RGB = np.stack([GREY, GREY * 0.5, 1 - GREY], -1)


def check(data: bytes, expected: NDArray[np.float64], off: float = 1.01) -> None:
    image = pictures.load(data).astype(float)
    wanted = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    assert np.abs(image - wanted * 255).max() <= off


@pytest.mark.parametrize("share", [1.0, 0.003])
def test_sixteen_bits_are_scaled_by_their_range_however_dark(share: float) -> None:
    """A picture of small numbers is dark: it isn't made bright by a guess."""
    deep = np.rint(GREY * share * 65535).astype(np.uint16)
    check(encoded(Pillow.fromarray(deep)), GREY * share)
    check(tiff(deep, 16), GREY * share)
    check(cv2.imencode(".png", np.rint(RGB[..., ::-1] * share * 65535).astype(np.uint16))[1].tobytes(), RGB * share)
    check(tiff(np.rint(RGB * share * 65535).astype(np.uint16), 16), RGB * share)
    pgm = b"P5 64 16 65535\n" + deep.astype(">u2").tobytes()
    check(pgm, GREY * share)


@pytest.mark.parametrize("values", [GREY, RGB], ids=["grey", "rgb"])
def test_twelve_bits_are_not_black(values: NDArray[np.float64]) -> None:
    check(tiff(np.rint(values * 4095).astype(np.uint16), 12), values)


@pytest.mark.parametrize("values", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floats_are_not_black(values: NDArray[np.float64], top: float) -> None:
    check(tiff((values * top).astype(np.float32), 32, 3), values, 1.6)


def test_doubles_are_read() -> None:
    check(tiff(GREY, 64, 3), GREY, 1.6)


def test_floats_as_opencv_packs_them_are_not_black() -> None:
    """Its TIFFs of three floats call themselves 16 bits of luminance and colour."""
    check(cv2.imencode(".tif", RGB[..., ::-1].astype(np.float32))[1].tobytes(), RGB, off=8)


def test_grey_from_white_to_black_is_turned_round() -> None:
    deep = np.rint((1 - GREY) * 65535).astype(np.uint16)
    check(tiff(deep, 16, more={262: 0}), GREY)
    check(tiff((1 - GREY).astype(np.float32), 32, kind=3, more={262: 0}), GREY)


def test_twelve_bits_in_sixteen_are_not_black_where_the_file_says_so() -> None:
    check(tiff(np.rint(GREY * 4095).astype(np.uint16), 16, more={281: 4095}), GREY)


def test_what_is_no_number_is_black_and_highlights_are_cut() -> None:
    odd = GREY.astype(np.float32)
    odd[0, 0], odd[0, 1], odd[0, 2], odd[0, 3] = np.nan, np.inf, -np.inf, -5
    odd[3, 60] = 40.0  # a highlight of a picture that else ends at 1
    image = pictures.load(tiff(odd, 32, 3))
    assert (image[0, :4] == 0).all() and (image[3, 60] == 255).all()
    assert abs(int(image[8, 32, 0]) - 255 * GREY[8, 32]) <= 1.6


def test_signed_and_long_samples() -> None:
    check(tiff(np.rint(GREY * 32767).astype(np.int16), 16, 2), GREY)
    check(tiff(np.rint(GREY * (2**32 - 1)).astype(np.uint32), 32), GREY)


def test_a_depth_that_cant_be_read_is_one_sentence() -> None:
    with pytest.raises(InvalidRequest, match="is not a picture that can be read"):
        pictures.load(tiff(RGB.astype(np.float16), 16, 3))
