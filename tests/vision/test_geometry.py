"""Tests of what must hold for transforms, crops and pasting with any numbers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from easyphoto.ports import Face, Points
from easyphoto.vision import geometry

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))
boxes = st.tuples(st.floats(-60, 120), st.floats(-60, 120), st.floats(0.5, 80), st.floats(0.5, 80))
FIVE = np.array([[10, 10], [30, 11], [20, 20], [12, 30], [28, 31]], np.float32)


def face_at(box: tuple[float, float, float, float]) -> Face:
    left, top, width, height = box
    return Face((left, top, left + width, top + height), FIVE + np.float32([left, top]))


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@given(st.floats(-180, 180), st.floats(0.05, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_similarity_is_found_again(degrees: float, scale: float, x: float, y: float) -> None:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    moved = geometry.transform(np.array([[c, -s, x], [s, c, y]]), FIVE)
    found = geometry.similarity(FIVE, moved)
    assert np.allclose(found, [[c, -s, x], [s, c, y]], atol=1e-2 * max(1, scale))


@given(hnp.arrays(np.float32, (5, 2), elements=st.floats(0, 200, width=32)))
def test_similarity_never_mirrors_and_can_be_undone(target: Points) -> None:
    matrix = geometry.similarity(FIVE, target)
    determinant = np.linalg.det(matrix[:, :2])
    assert determinant >= -1e-9
    if determinant > 1e-3:
        back = geometry.transform(geometry.invert(matrix), geometry.transform(matrix, FIVE))
        assert np.allclose(back, FIVE, atol=0.05)


def test_similarity_of_a_single_spot_is_a_shift() -> None:
    spot = np.full((5, 2), 7, np.float32)
    assert np.allclose(geometry.similarity(spot, FIVE), [[1, 0, 13], [0, 1, 13.4]])


def test_similarity_wants_matching_points() -> None:
    with pytest.raises(ValueError, match="same 2 or more"):
        geometry.similarity(FIVE, FIVE[:3])


@given(boxes, st.floats(0.1, 6), sizes)
def test_a_face_crop_lies_in_the_picture(
    box: tuple[float, float, float, float], ratio: float, size: tuple[int, int]
) -> None:
    crop = geometry.face_crop(face_at(box), ratio, size)
    assert 0 <= crop.left < crop.right <= size[1]
    assert 0 <= crop.top < crop.bottom <= size[0]
    side = max(1, round(max(box[2], box[3]) * ratio))
    assert crop.size == (min(side, size[0]), min(side, size[1]))


@given(boxes, sizes)
def test_a_box_crop_lies_in_the_picture(box: tuple[float, float, float, float], size: tuple[int, int]) -> None:
    crop = geometry.box_crop(face_at(box).box, size)
    assert 0 <= crop.left < crop.right <= size[1]
    assert 0 <= crop.top < crop.bottom <= size[0]


@given(boxes, st.floats(0.1, 3), sizes, sizes)
def test_pasting_leaves_the_rest_alone(
    box: tuple[float, float, float, float], ratio: float, size: tuple[int, int], patch: tuple[int, int]
) -> None:
    image = noise(size)
    crop = geometry.face_crop(face_at(box), ratio, size)
    pasted = geometry.paste(image, noise(patch, 1), crop)
    outside = np.ones(size, bool)
    outside[crop.top : crop.bottom, crop.left : crop.right] = False
    assert np.array_equal(pasted[outside], image[outside])
    assert np.array_equal(geometry.paste(image, geometry.cut(image, crop), crop), image)


@given(boxes, sizes, st.integers(0, 3))
def test_pasting_through_an_empty_mask_changes_nothing(
    box: tuple[float, float, float, float], size: tuple[int, int], seed: int
) -> None:
    image = noise(size)
    crop = geometry.face_crop(face_at(box), 1.5, size)
    mask = (np.random.default_rng(seed).random(crop.size) > 0.5).astype(np.float32)
    pasted = geometry.paste(image, noise(crop.size, 1), crop, mask)
    assert np.array_equal(geometry.paste(image, noise(crop.size, 1), crop, np.zeros_like(mask)), image)
    kept = geometry.cut(pasted, crop)[mask == 0]
    assert np.array_equal(kept, geometry.cut(image, crop)[mask == 0])


@given(boxes, st.floats(0.2, 4), st.tuples(st.integers(20, 200), st.integers(20, 200)))
def test_a_face_follows_its_crop_and_back(
    box: tuple[float, float, float, float], ratio: float, out: tuple[int, int]
) -> None:
    crop = geometry.face_crop(face_at(box), ratio, (90, 90))
    face = face_at(box)
    moved = geometry.in_crop(face, crop, out)
    back = geometry.move_face(moved, geometry.invert(crop.to_local(out)))
    assert np.allclose(back.points, face.points, atol=1e-2)
    assert np.allclose(back.box, face.box, atol=1e-2)


@given(sizes, st.integers(16, 1024), st.sampled_from([8, 32, 64]))
def test_sizes_are_multiples(size: tuple[int, int], short: int, multiple: int) -> None:
    for fitted in (geometry.fit_short_side(size, short, multiple), geometry.fit_area(size, short**2, multiple)):
        assert all(side >= multiple and side % multiple == 0 for side in fitted)
    assert abs(min(geometry.fit_short_side(size, short, multiple)) - short) <= max(multiple / 2, multiple - short)


@given(sizes, st.integers(1, 200))
def test_limiting_never_enlarges(size: tuple[int, int], longest: int) -> None:
    limited = geometry.limit_long_side(size, longest)
    assert max(limited) <= max(longest, 1)
    assert limited == size or max(size) > longest


@given(sizes, sizes)
def test_a_resized_mask_stays_a_mask(size: tuple[int, int], out: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(size).astype(np.float32)
    resized = geometry.resize_mask(mask, out)
    assert resized.shape == out and resized.dtype == np.float32
    assert resized.min() >= 0 and resized.max() <= 1


def test_a_padded_cut_has_the_face_in_its_middle() -> None:
    image = noise((60, 60))
    face = face_at((-5, 40, 20, 20))
    part, moved = geometry.cut_padded(image, face, 2)
    assert part.shape == (40, 40, 3)
    assert np.allclose(moved.center, (20, 20), atol=0.51)
    assert np.array_equal(part[10:30, 15:40], image[40:60, 0:25])


def test_a_similar_paste_lands_on_the_points() -> None:
    target, source = np.zeros((80, 80, 3), np.uint8), np.full((40, 40, 3), 200, np.uint8)
    mask = np.zeros((40, 40), np.float32)
    mask[8:33, 8:33] = 1
    points = geometry.transform(np.array([[1.5, 0, 10], [0, 1.5, 5]]), FIVE)
    pasted = geometry.paste_similar(target, points, source, FIVE, mask)
    for x, y in points:
        assert pasted[round(float(y)), round(float(x))].min() > 190
    assert not pasted[:10].any() and not pasted[60:].any()


@pytest.mark.parametrize("angle", [0.0, 20.0])
@pytest.mark.parametrize("shrink", [2.0, 3.7, 12.0])
def test_warping_a_large_picture_small_averages_instead_of_taking_single_pixels(shrink: float, angle: float) -> None:
    """Stripes finer than the new pixels become grey, and a slope stays where it was to a tenth of a pixel."""
    side = 100
    matrix = cv2.getRotationMatrix2D((600, 600), angle, 1 / shrink)
    matrix[:, 2] += side / 2 - 600
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    plain = cv2.warpAffine(stripes, matrix, (side, side), flags=cv2.INTER_AREA)
    assert np.abs(plain[20:80, 20:80] - 127.5).mean() > 30, "what OpenCV alone gives"
    assert np.abs(geometry.warp(stripes, matrix, (side, side))[20:80, 20:80] - 127.5).mean() < 10
    slope = np.repeat(np.tile(np.arange(1200) * (255 / 1200), (1200, 1))[..., None], 3, 2).astype(np.float32)
    seen = geometry.warp(slope, matrix, (side, side))[..., 0].astype(float)  # type: ignore[arg-type]
    ys, xs = np.mgrid[30:70, 30:70]
    there = geometry.transform(geometry.invert(matrix), np.stack([xs, ys], -1).reshape(-1, 2).astype(np.float32))
    off = seen[30:70, 30:70].ravel() - there[:, 0] * (255 / 1200)
    assert np.abs(off).max() < 0.15 * shrink * 255 / 1200 + 0.05


def test_warping_at_ordinary_scales_is_opencvs_own() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    for scale in (0.71, 1.0, 1.9):
        matrix = cv2.getRotationMatrix2D((45, 40), 10, scale)
        plain = cv2.warpAffine(image, matrix, (60, 50), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        assert np.array_equal(geometry.warp(image, matrix, (50, 60)), plain)


def test_tiles_cover_a_picture_with_their_overlap() -> None:
    for size in ((100, 5000), (2048, 8190), (900, 900), (1025, 3000)):
        tiles = geometry.tiles(size, 1024, 320)
        for y in range(0, max(1, size[0] - 320), 97):
            for x in range(0, max(1, size[1] - 320), 97):
                bottom, right = min(size[0], y + 320), min(size[1], x + 320)
                assert any(t.left <= x and t.top <= y and t.right >= right and t.bottom >= bottom for t in tiles)
