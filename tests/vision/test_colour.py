"""Tests that colours change where they should, to what they should, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto.ports import FaceParts, Image, Mask
from easyphoto.vision import colour, makeup

seeds = st.integers(0, 10_000)


def scene(seed: int, size: tuple[int, int] = (24, 30)) -> tuple[Image, Mask]:
    draw = np.random.default_rng(seed)
    base = draw.integers(70, 180, 3)
    image = np.clip(base + draw.normal(0, draw.uniform(5, 15), (*size, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros(size, np.float32)
    mask[4:18, 5:22] = 1
    return image, mask


@pytest.mark.thorough
@given(seeds)
def test_lab_there_and_back_is_the_same_picture(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.abs(colour.to_rgb(colour.to_lab(image)).astype(int) - image).max() <= 1


@given(seeds, seeds)
def test_matching_hits_mean_and_deviation(a: int, b: int) -> None:
    image, mask = scene(a)
    wanted = colour.statistics(colour.to_lab(scene(b)[0]), mask)
    assert wanted is not None
    matched = colour.statistics(colour.match(colour.to_lab(image), mask, wanted, gain=(0, 1e3)), mask)
    assert matched is not None
    assert np.allclose(matched.mean, wanted.mean, atol=1e-2)
    assert np.allclose(matched.std, wanted.std, atol=1e-2)


@given(seeds, seeds)
def test_a_shift_comes_near_in_bytes_and_touches_nothing_outside(a: int, b: int) -> None:
    (image, mask), (reference, _) = scene(a), scene(b)
    shifted = colour.shift(image, mask, reference, mask)
    assert np.array_equal(shifted[mask == 0], image[mask == 0])
    got = colour.statistics(colour.to_lab(shifted), mask)
    wanted = colour.statistics(colour.to_lab(reference), mask)
    assert got is not None and wanted is not None
    assert np.abs(got.mean - wanted.mean).max() < 1.5


def test_a_gain_is_limited() -> None:
    flat = np.full((10, 10, 3), 120, np.uint8)
    flat[::2] = 121
    loud = scene(3, (10, 10))[0]
    everywhere = np.ones((10, 10), np.float32)
    shifted = colour.shift(flat, everywhere, loud, everywhere)
    before = colour.statistics(colour.to_lab(flat), everywhere)
    after = colour.statistics(colour.to_lab(shifted), everywhere)
    assert before is not None and after is not None
    assert after.std[0] < 3 * before.std[0] + 0.5


def test_nothing_to_go_by_changes_nothing() -> None:
    image, mask = scene(1)
    nothing = np.zeros_like(mask)
    assert np.array_equal(colour.shift(image, mask, image[::-1], nothing), image)
    assert np.array_equal(colour.shift(image, nothing, image[::-1], mask), image)
    assert np.array_equal(colour.shift(image, mask, image // 2, mask, amount=0), image)
    assert colour.statistics(colour.to_lab(image), nothing) is None


def test_the_feather_says_where_not_the_mask() -> None:
    image, mask = scene(5)
    feather = np.zeros_like(mask)
    feather[:3] = 1
    shifted = colour.shift(image, mask, 255 - image, mask, feather=feather)
    assert np.array_equal(shifted[3:], image[3:])
    assert (shifted[:3] != image[:3]).any()


def parts(size: tuple[int, int]) -> FaceParts:
    def area(top: int, bottom: int, left: int, right: int) -> Mask:
        mask = np.zeros(size, np.float32)
        mask[top:bottom, left:right] = 1
        return mask

    face, eyes, lips = area(10, 90, 10, 70), area(30, 36, 20, 60), area(66, 76, 30, 50)
    skin = np.clip(face - eyes - lips, 0, 1)
    return FaceParts(face=face, skin=skin, eyes=eyes, brows=area(22, 25, 20, 60), nose=area(40, 60, 35, 45), lips=lips)


def test_make_up_colours_the_lips_and_leaves_eyes_and_surroundings() -> None:
    size = (100, 80)
    plain = np.random.default_rng(0).integers(150, 160, (*size, 3), dtype=np.uint8)
    painted = plain.copy()
    p = parts(size)
    painted[p.lips > 0] = (190, 30, 50)
    made_up = makeup.transfer(plain, p, painted, p, 1.0)
    assert np.array_equal(made_up[p.face == 0], plain[p.face == 0])
    assert np.array_equal(made_up[p.eyes > 0], plain[p.eyes > 0])
    middle = made_up[70:73, 36:44].astype(int).mean((0, 1))
    assert middle[0] - middle[1] > 80
    half = makeup.transfer(plain, p, painted, p, 0.5)[70:73, 36:44].astype(int).mean((0, 1))
    assert 20 < half[0] - half[1] < middle[0] - middle[1]
    assert np.array_equal(makeup.transfer(plain, p, painted, p, 0.0), plain)
