from __future__ import annotations

import numpy as np
import pytest

from easyphoto.ports import Face, Image
from easyphoto.vision import damage, landmarks


def test_closed_eyes_are_torn_only_where_they_were_open(astronaut: Image, collins: Face) -> None:
    points = collins.landmarks
    assert points is not None
    shut = points.copy()
    for eye in (landmarks.LEFT_EYE, landmarks.RIGHT_EYE):
        shut[eye, 1] = points[eye, 1].mean() + 0.2 * (points[eye, 1] - points[eye, 1].mean())
    assert damage.openness(shut) == pytest.approx(0.2 * damage.openness(points), rel=0.2)
    assert damage.torn(astronaut, shut, astronaut, points)
    assert not damage.torn(astronaut, points, astronaut, points)
    assert not damage.torn(astronaut, shut, astronaut, shut)


def test_holes_are_torn(astronaut: Image, collins: Face) -> None:
    points = collins.landmarks
    assert points is not None
    broken = astronaut.copy()
    x, y = (0.5 * (points[2] + points[31])).astype(int)
    reach = round(0.09 * collins.width)
    broken[y - reach : y + reach, x - reach : x + reach] = (20, 90, 40)
    assert damage.torn(broken, points, astronaut, points)
    lit = np.clip(astronaut.astype(float) * 0.8 + 10, 0, 255).astype(np.uint8)
    assert not damage.torn(lit, points, astronaut, points), "another light isn't a hole"
