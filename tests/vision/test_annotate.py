"""Tests of control maps."""

from __future__ import annotations

import numpy as np
import pytest

from easyphoto.ports import Face, Image
from easyphoto.vision import annotate, geometry


def test_every_map_is_a_picture_of_the_same_size(astronaut: Image) -> None:
    for size in ((512, 512), (96, 64), (33, 70), (1, 1), (5, 300)):
        image = geometry.resize(astronaut, size)
        for made in (
            annotate.canny(image),
            annotate.color(image),
            annotate.color_grid(image),
            annotate.tile(image),
            annotate.tile(image, 4),
            annotate.openpose_face(size, []),
        ):
            assert made.shape == (*size, 3) and made.dtype == np.uint8


def test_canny_is_black_and_white_and_finds_an_edge() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255
    edges = annotate.canny(image)
    assert set(np.unique(edges)) == {0, 255}
    assert edges[:, 18:22].any() and not edges[:, :15].any()


def test_colour_keeps_colours_and_drops_detail(astronaut: Image) -> None:
    smooth = annotate.color(astronaut)
    assert np.abs(smooth.astype(int).mean((0, 1)) - astronaut.mean((0, 1))).max() < 3
    assert (
        np.abs(np.diff(smooth.astype(int), axis=1)).mean() < 0.4 * np.abs(np.diff(astronaut.astype(int), axis=1)).mean()
    )
    mosaic = annotate.color_grid(astronaut, 16)
    assert len(np.unique(mosaic.reshape(-1, 3), axis=0)) <= 256


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "radius"), [(96, 1), (512, 3), (1024, 6)])
def test_openpose_draws_white_dots(astronaut: Image, collins: Face, width: int, radius: int) -> None:
    matrix = np.array([[width / 512, 0, 0], [0, width / 512, 0]])
    points = geometry.move_face(collins, matrix).landmarks
    assert points is not None
    drawn = annotate.openpose_face((width, width), [points])
    assert set(np.unique(drawn)) == {0, 255}
    x, y = np.rint(points[8]).astype(int)
    assert drawn[y, x].all() and drawn[y + radius, x].all()
    assert not drawn[y + radius + 1, x].any()
    assert (annotate.openpose_face((width, width), [points], pupils=True) >= drawn).all()
