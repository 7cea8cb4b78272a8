from __future__ import annotations

import numpy as np
import pytest

from easyphoto.ports import Points
from easyphoto.vision import landmarks, warping
from easyphoto.vision.backends import warp_fuser

SIDE = 240


def head(yaw: float) -> Points:
    """68 points of a round head that turns by so many degrees to the viewer's right, seen from afar."""
    across = np.linspace(-70, 70, 17)
    jaw = np.stack([across, -38 + 105 * np.sqrt(1 - (across / 71) ** 2)], axis=1)
    brows = [(x, -55 - 5 * np.cos(x)) for x in (-45, -38, -30, -22, -14, 14, 22, 30, 38, 45)]
    nose = [(0, y) for y in (-38, -26, -14, -2)] + [(x, 6) for x in (-10, -5, 0, 5, 10)]
    eyes = [(s * 30 + x, -38 + y) for s in (-1, 1) for x, y in ((-8, 0), (-3, -4), (3, -4), (8, 0), (3, 4), (-3, 4))]
    lips = [(22 * np.cos(a), 30 + 8 * np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 20, endpoint=False)]
    flat = np.array([*jaw, *brows, *nose, *eyes, *lips])
    angle = flat[:, 0] / 62
    turned = np.sin(np.clip(angle + np.radians(yaw), -np.pi / 2, np.pi / 2)) * 80
    return np.stack([turned + SIDE / 2, flat[:, 1] + SIDE / 2 + 10], axis=1).astype(np.float32)


def anchored(points: Points) -> Points:
    return np.concatenate([points, landmarks.forehead(points)])


def test_a_picture_that_is_drawn_out_threefold_says_so() -> None:
    grid = np.stack(np.meshgrid(np.linspace(40, 200, 5), np.linspace(40, 200, 5)), -1).reshape(-1, 2)
    wide = grid.astype(np.float32)
    narrow = (grid * [1 / 3, 1.0]).astype(np.float32)
    maps = warping.field(narrow, wide, (SIDE, SIDE))
    assert warping.stretch(maps)[100, 100] == pytest.approx(3.0, rel=0.05)
    assert warping.stretch(warping.field(wide, wide, (SIDE, SIDE)))[100, 100] == pytest.approx(1.0, rel=0.02)


def test_the_cheek_that_a_turned_reference_hides_is_not_fused() -> None:
    plain = np.full((SIDE, SIDE, 3), 150, np.uint8)
    ahead, aside = head(0), head(25)
    regions = {}
    for name, given in (("ahead", ahead), ("aside", aside)):
        _, alpha = warp_fuser.fuse_aligned(plain, ahead, plain, given)
        regions[name] = alpha > 0
    row = SIDE // 2 + 15
    lost = regions["ahead"][row] & ~regions["aside"][row]
    columns = np.flatnonzero(lost)
    assert columns.size >= 4, "the far cheek is left to the template"
    assert columns.min() > SIDE // 2, "the head turned to the right shows less of its right cheek"
    assert regions["aside"][row, SIDE // 2 - 40 : SIDE // 2 + 20].all(), "the rest of the face is fused"


def test_the_ends_of_the_brows_are_fused() -> None:
    plain = np.full((SIDE, SIDE, 3), 150, np.uint8)
    ahead = head(0)
    _, alpha = warp_fuser.fuse_aligned(plain, ahead, plain, ahead)
    for index in (17, 26):
        x, y = (round(float(v)) for v in ahead[index])
        assert alpha[y, x] > 0.9
