"""Tests of what a portrait leaves of its template beside the face, at the template's own size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from easyphoto.config import Family
from easyphoto.inference.portrait import portray
from easyphoto.ports import Image
from tests.fakes import FakeHost, FakeVision, blank, draw_face, identity
from tests.inference.studio import config, person, task

CENTER, WIDTH = (600, 560), 420
"""The face of the template, which is larger than in any working picture."""


@pytest.fixture
def curls() -> Image:
    """A large face whose surroundings are as fine as hair."""
    picture = blank(1200, 1200, gray=150).astype(np.int16)
    picture += np.random.default_rng(5).integers(-40, 41, picture.shape, dtype=np.int16)
    return draw_face(np.asarray(picture, np.uint8), CENTER, WIDTH, who=20)


@pytest.mark.parametrize("family", [Family.SD1, Family.SDXL, Family.BENCH])
def test_hair_beside_the_face_stays_as_sharp_as_it_was(curls: Image, family: Family, tmp_path: Path) -> None:
    chosen = config(super_resolution=False, color_shift_middle=False, color_shift_last=False)
    job = task((curls,), person(tmp_path), family=family, config=chosen)
    (made,) = portray(job, FakeHost(paint=identity), FakeVision())
    rows, columns = np.ogrid[:1200, :1200]
    away = np.hypot((columns - CENTER[0]) / (WIDTH / 2), (rows - CENTER[1]) / (WIDTH * 0.6))
    beside = (away > 1.24) & (away < 1.38)  # what is pasted and wasn't repainted
    change = np.abs(made.image.astype(int) - curls)
    assert change[beside].mean() < 0.5
    assert (made.image[away < 0.8] != curls[away < 0.8]).any(), "the face itself is another"
