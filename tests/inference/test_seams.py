"""Tests with several people in one picture: what the pass over the seams leaves unchanged between and below them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from easyphoto.inference.portrait import portray
from easyphoto.ports import Image, Img2Img, Txt2Img
from tests.fakes import FakeHost, FakeVision, blank, draw_face
from tests.inference.studio import config, person, task

FACES = ((170, 190), (300, 180), (430, 195))


def network(job: Txt2Img) -> Image:
    """What a network gives back of a picture: softer, a little lighter, and another grain, inside the mask alone."""
    assert isinstance(job, Img2Img)
    grain = np.random.default_rng(job.seed).normal(0, 3, job.image.shape)
    again = cv2.GaussianBlur(job.image, (0, 0), 1.0) + np.array([9.0, 5.0, 8.0]) + grain
    mask = np.ones(job.image.shape[:2], np.float32) if job.mask is None else job.mask
    alpha = cv2.GaussianBlur(mask, (0, 0), job.mask_blur)[..., None]
    result: Image = np.rint(np.clip(job.image + alpha * (again - job.image), 0, 255)).astype(np.uint8)
    return result


@pytest.fixture
def shirt() -> Image:
    """Three faces close together over one plain shirt."""
    picture = blank(600, 420, gray=150)
    for who, center in zip((10, 20, 30), FACES, strict=True):
        picture = draw_face(picture, center, 90, who=who)
    return picture


def test_no_patches_stay_on_the_shirt_that_people_share(shirt: Image, tmp_path: Path) -> None:
    people = [person(tmp_path, name, who) for name, who in (("anna", 60), ("bert", 40), ("cleo", 50))]
    chosen = config(super_resolution=False, color_shift_middle=False, color_shift_last=False)
    (made,) = portray(task((shirt,), *people, config=chosen), FakeHost(paint=network), FakeVision())
    change = cv2.GaussianBlur(made.image.astype(np.float32) - shirt, (0, 0), 4).max(2)
    near = np.zeros(shirt.shape[:2], np.uint8)
    for x, y in FACES:
        cv2.ellipse(near, (x, y), (45 + 22, 54 + 22), 0, 0, 360, 1, -1)
    away = near == 0
    assert float(np.abs(change[away]).max()) < 3.5, "a tone that differs over so much shows as a patch"
    assert (made.image[300:] == shirt[300:]).all(), "nothing was laid there"
