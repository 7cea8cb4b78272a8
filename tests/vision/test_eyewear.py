"""Glasses that are drawn onto photographs: whether they are seen, and where their arms run."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Face, Image, Mask, Points
from easyphoto.vision import eyewear, geometry, landmarks, masks
from easyphoto.vision.backends import warp_fuser


def points_of(face: Face) -> Points:
    assert face.landmarks is not None
    return face.landmarks


def with_glasses(image: Image, points: Points) -> tuple[Image, list[tuple[np.ndarray, np.ndarray]]]:
    """The picture with dark rims around both eyes, a bridge, and arms to the ears; and the ends of each arm."""
    drawn = image.copy()
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    apart = float(np.hypot(*(right - left)))
    thick, radius = max(2, round(0.05 * apart)), round(0.36 * apart)
    ink = (25, 20, 20)
    for eye in (left, right):
        cv2.circle(drawn, tuple(int(v) for v in eye), radius, ink, thick, cv2.LINE_AA)
    across = (right - left) / apart
    cv2.line(drawn, *(tuple(int(v) for v in p) for p in (left + across * radius, right - across * radius)), ink, thick)
    ends = []
    for eye, jaw, way in ((left, points[0], -1), (right, points[16], 1)):
        hinge = eye + way * across * radius
        ear = jaw + way * across * 0.25 * apart
        ear[1] = hinge[1] + 0.04 * apart
        cv2.line(drawn, *(tuple(int(v) for v in p) for p in (hinge, ear)), ink, thick)
        ends.append((hinge, ear))
    return drawn, ends


def test_glasses_are_seen(astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face) -> None:
    points = points_of(collins)
    assert not eyewear.worn(astronaut, points)
    assert eyewear.worn(with_glasses(astronaut, points)[0], points)
    assert eyewear.worn(grace_hopper, points_of(hopper)), "she wears some with thin rims"


def test_arms_beside_the_face_are_followed_and_filled_in(grace_hopper: Image, hopper: Face) -> None:
    points = points_of(hopper)
    worn, ends = with_glasses(grace_hopper, points)
    bare, where = eyewear.without_arms(worn, points)
    assert np.array_equal(bare[where == 0], worn[where == 0])
    drawn = (worn != grace_hopper).any(axis=2)
    for hinge, ear in ends:
        middle = 0.5 * hinge + 0.5 * ear
        rows, columns = (slice(round(float(v)) - 3, round(float(v)) + 4) for v in middle[::-1])
        arm = drawn[rows, columns]
        assert arm.any() and (where[rows, columns][arm] > 0).mean() > 0.9
        assert bare[rows, columns][arm].mean() > worn[rows, columns][arm].mean() + 20, "no longer dark"
    outline = masks.polygon((where.shape[0], where.shape[1]), landmarks.outline(points))
    assert not where[masks.dilate(outline, 0.3 * hopper.width) == 0].any()


def test_arms_in_a_large_picture_are_filled_in_as_in_a_small_one(grace_hopper: Image, hopper: Face) -> None:
    small, _ = with_glasses(grace_hopper, points_of(hopper))
    size = small.shape[0], small.shape[1]
    large = geometry.resize(small, (4 * size[0], 4 * size[1]))
    bare, where = eyewear.without_arms(small, points_of(hopper))
    huge, there = eyewear.without_arms(large, points_of(geometry.move_face(hopper, np.array([[4.0, 0, 0], [0, 4, 0]]))))
    assert np.array_equal(huge[there == 0], large[there == 0])
    both = (where > 0) & (geometry.resize_mask(there, size) > 0.5)
    assert both.sum() > 0.7 * (where > 0).sum()
    apart = np.abs(geometry.resize(huge, size)[both].astype(int) - bare[both])
    assert 3 * np.median(apart) < np.median(np.abs(small[both].astype(int) - bare[both]))


def test_who_wears_glasses_keeps_their_arms(astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face) -> None:
    own, given = points_of(collins), points_of(hopper)
    source, _ = with_glasses(grace_hopper, given)
    _, alpha = warp_fuser.fuse_aligned(astronaut, own, source, given)
    for side in beside(alpha, own):
        assert side.sum() >= 10
        rows = np.flatnonzero(side.any(axis=1))
        assert own[17:27, 1].min() < rows.mean() < own[30, 1]
    _, alpha = warp_fuser.fuse_aligned(grace_hopper, given, astronaut, own)
    assert not any(side.any() for side in beside(alpha, given)), "she wears none, so nothing lies beside the face"


def beside(alpha: Mask, points: Points) -> list[np.ndarray]:
    """What was fused outside the outline, left and right of the eyes."""
    outline = masks.polygon((alpha.shape[0], alpha.shape[1]), landmarks.outline(points))
    out = (alpha > 0.5) & (masks.dilate(outline, 2) == 0)
    return [out[:, : int(points[36, 0])], out[:, int(points[45, 0]) :]]
