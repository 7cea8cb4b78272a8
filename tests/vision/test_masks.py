"""Tests that masks stay masks, and that each operation acts only where it promises to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from easyphoto.ports import Mask, Points
from easyphoto.vision import masks

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
soft = hnp.arrays(np.float32, shapes, elements=st.floats(0, 1, width=32))
hard = hnp.arrays(np.bool_, shapes).map(lambda a: a.astype(np.float32))
radii = st.floats(0, 12)
outlines = hnp.arrays(np.float32, st.tuples(st.integers(3, 9), st.just(2)), elements=st.floats(-90, 130, width=32))


def is_mask(mask: Mask, like: Mask) -> bool:
    return mask.shape == like.shape and mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1


@given(hard, st.integers(0, 5))
def test_the_extent_holds_all_that_is_set_and_little_more(mask: Mask, margin: int) -> None:
    rows, columns = masks.extent(mask, margin)
    inside = mask[rows, columns]
    assert inside.sum() == mask.sum() and inside.size
    if mask.any():
        ys, xs = np.nonzero(mask)
        height, width = mask.shape
        assert range(height)[rows] == range(max(0, ys.min() - margin), min(height, ys.max() + 1 + margin))
        assert range(width)[columns] == range(max(0, xs.min() - margin), min(width, xs.max() + 1 + margin))


@given(soft, radii, radii)
def test_everything_returns_a_mask_of_the_same_shape(mask: Mask, radius: float, other: float) -> None:
    made = [
        masks.dilate(mask, radius),
        masks.erode(mask, radius),
        masks.close_holes(mask),
        masks.largest(mask),
        masks.ring(mask, radius, other),
        masks.feather(mask, radius),
        masks.feather_inside(mask, radius),
        masks.union(mask, 1 - mask),
        masks.intersection(mask, 1 - mask),
        masks.without(mask, mask),
        masks.clear_of_border(mask, int(radius)),
    ]
    assert all(is_mask(m, mask) for m in made)


@given(hard, radii, radii)
def test_a_ring_keeps_out_of_the_interior(mask: Mask, inner: float, outer: float) -> None:
    ring, core = masks.ring(mask, inner, outer), masks.erode(mask, inner)
    assert not (ring * core).any()
    assert np.array_equal(masks.union(ring, core), masks.dilate(mask, outer))


@given(hard, radii)
def test_dilating_grows_and_eroding_shrinks(mask: Mask, radius: float) -> None:
    assert (masks.dilate(mask, radius) >= mask).all()
    assert (masks.erode(mask, radius) <= mask).all()
    assert np.array_equal(masks.dilate(mask, radius), 1 - masks.erode(1 - mask, radius))


@given(hard)
def test_closing_only_adds(mask: Mask) -> None:
    assert (masks.close_holes(mask) >= mask).all()


def test_a_hole_is_closed_and_a_bay_is_not() -> None:
    mask = np.zeros((9, 9), np.float32)
    mask[1:8, 1:8] = 1
    mask[3:5, 3:5] = 0
    mask[6:, 5] = 0
    closed = masks.close_holes(mask)
    assert closed[3:5, 3:5].all()
    assert not closed[8, 5]


@given(hard, radii)
def test_an_inner_feather_never_leaves_the_mask(mask: Mask, width: float) -> None:
    assert not masks.feather_inside(mask, width)[mask == 0].any()


@given(outlines, shapes)
def test_polygons_may_lie_anywhere(points: Points, size: tuple[int, int]) -> None:
    for drawn in (masks.polygon(size, points), masks.hull(size, points)):
        assert is_mask(drawn, np.zeros(size, np.float32))


def test_a_polygon_fills_its_inside() -> None:
    drawn = masks.polygon((20, 30), np.array([[5, 5], [24, 5], [24, 14], [5, 14]], np.float32))
    assert drawn[6:14, 6:24].min() == 1
    assert not drawn[:4].any() and not drawn[16:].any() and not drawn[:, :4].any() and not drawn[:, 26:].any()


def test_the_largest_piece_wins_and_widths_are_counted() -> None:
    mask = np.zeros((10, 20), np.float32)
    mask[1:3, 1:3] = 1
    mask[5:9, 8:15] = 1
    assert masks.width_of(mask) == 14
    assert masks.width_of(masks.largest(mask)) == 7
    assert masks.width_of(masks.empty((4, 4))) == 0


def test_clearing_the_border() -> None:
    cleared = masks.clear_of_border(np.ones((10, 12), np.float32), 3)
    assert cleared.sum() == 4 * 6
    assert not masks.clear_of_border(np.ones((4, 4), np.float32), 3).any()
