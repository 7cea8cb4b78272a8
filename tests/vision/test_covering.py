"""What lies before a face that is drawn as a plain disc: hair comes in from outside, a mole doesn't."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Image
from easyphoto.vision import covering, landmarks, masks
from easyphoto.vision.face_parts import face_parts
from tests.vision.test_warping import SIDE, head

SKIN, HAIR = (205, 160, 135), (70, 45, 30)
POINTS = head(0)


def portrait() -> Image:
    """A face of one colour on a green ground, with noise."""
    whole = masks.dilate(masks.hull((SIDE, SIDE), landmarks.outline(POINTS)), 12)
    picture = np.where(whole[..., None] > 0.5, np.array(SKIN), np.array((90, 140, 90)))
    return (picture + np.random.default_rng(1).normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)


def with_strand(picture: Image) -> Image:
    """Hair over the left eye and cheek."""
    drawn = picture.copy()
    eye, jaw = POINTS[36:42].mean(0), POINTS[3]
    shape = np.array(
        [(jaw[0] - 40, 0), (eye[0] + 27, 0), (eye[0] + 27, eye[1] + 26), (jaw[0] + 14, jaw[1]), (jaw[0] - 40, jaw[1])]
    )
    cv2.fillPoly(drawn, [shape.astype(np.int32)], HAIR)
    return drawn


def test_nothing_lies_before_a_bare_face() -> None:
    assert not covering.covering(portrait(), POINTS).any()
    marked = portrait()
    cv2.circle(marked, tuple(int(v) for v in POINTS[30] + (28, 12)), 7, HAIR, -1)
    assert not covering.covering(marked, POINTS).any(), "a mole doesn't come in from outside"


def test_hair_before_the_face_is_no_part_of_it() -> None:
    picture = with_strand(portrait())
    found = covering.covering(picture, POINTS)
    left, right = POINTS[36:42].mean(0), POINTS[42:48].mean(0)
    cheek = np.array([left[0] - 12, left[1] + 6])
    assert found[int(cheek[1]), int(cheek[0])] == 1
    assert found[:, int(right[0]) - 25 :].sum() == 0
    parts = face_parts(picture, POINTS)
    for mask in (parts.face, parts.skin):
        assert mask[int(cheek[1]), int(cheek[0])] < 0.5
    whole = face_parts(portrait(), POINTS)
    assert parts.face.sum() < 0.92 * whole.face.sum()
    other = slice(int(right[0]) - 20, None)
    assert np.abs(parts.face[:, other] - whole.face[:, other]).mean() < 0.02


def test_a_shadow_over_both_eyes_hides_nothing() -> None:
    shaded = portrait()
    top, bottom = 0, int(POINTS[29, 1])
    shaded[top:bottom] = (shaded[top:bottom] * 0.35).astype(np.uint8)
    assert not covering.covering(shaded, POINTS).any()


def test_strands_make_an_outline_untidy() -> None:
    assert covering.clutter(portrait(), POINTS) < 0.02
    assert covering.clutter(with_strand(portrait()), POINTS) > 0.2
