"""Tests of the measures of clips: what they say of frames about which it is known."""

from __future__ import annotations

import clip_measures
import cv2
import numpy as np
import pytest
from benchkit import Image
from clip_measures import Row, Shot

EVERYWHERE = [(slice(16, 112), slice(16, 112))] * 6


def sliding(count: int = 6) -> list[Image]:
    """A picture of soft noise that moves two pixels a frame."""
    noise = np.random.default_rng(3).integers(0, 255, (128, 160, 3)).astype(np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    stretched = cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX)
    return [np.ascontiguousarray(stretched[:, 2 * i : 2 * i + 128]).astype(np.uint8) for i in range(count)]


def test_a_change_that_moves_along_is_no_error_and_one_that_flickers_is() -> None:
    source = sliding()
    own = clip_measures.warping_error(source, source, EVERYWHERE)
    darker = [(frame * 0.7).astype(np.uint8) for frame in source]
    assert clip_measures.warping_error(darker, source, EVERYWHERE) <= 1.3 * own + 0.1
    flickering = [np.clip(frame.astype(int) + 12 * (i % 2), 0, 255).astype(np.uint8) for i, frame in enumerate(source)]
    assert clip_measures.warping_error(flickering, source, EVERYWHERE) > 8


def test_two_heads_cross_and_the_wrong_one_is_seen_to_be_repainted() -> None:
    first = [np.full((256, 256, 3), 60, np.uint8)] * 8
    second = [np.full((256, 256, 3), 200, np.uint8)] * 8
    shot = clip_measures.crossing(first, second)
    (x, _), (other_x, _) = shot.heads[0]
    assert x < other_x and shot.heads[-1][0][0] > shot.heads[-1][1][0]
    for heads, frame in zip(shot.heads, shot.frames, strict=True):
        assert frame[int(heads[1][1]), int(heads[1][0])].tolist() == [200] * 3, "the second one is in front"
    assert clip_measures.wrong_heads(shot.frames, shot) == 0
    painted = [frame.copy() for frame in shot.frames]
    right, wrong = (tuple(int(v) for v in heads) for heads in (shot.heads[1][0], shot.heads[-1][1]))
    cv2.circle(painted[1], right, 40, (0, 255, 0), -1)
    assert clip_measures.wrong_heads(painted, shot) == 0
    cv2.circle(painted[-1], wrong, 40, (0, 255, 0), -1)
    assert clip_measures.wrong_heads(painted, shot) == 1


def test_the_table_has_both_chains_of_a_clip_in_a_row() -> None:
    rows = [Row("1", "clip", {0: 0.5, 1: 0.7}, 1.25, 0), Row("1", "frame by frame", {0: 0.4}, 2.5, 3), Row("2", "clip")]
    last = clip_measures.table(rows).splitlines()[-1]
    assert last == "| 1 | 0.600 | 0.100 | 1.25 | 0 | 0.400 | 0.000 | 2.50 | 3 |"
    assert Shot("x", []).heads == () and rows[2].mean != pytest.approx(0)
