"""Tests that the pose of a head that a test has turned is found again, with the signs that the docstring gives."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from easyphoto.ports import Face, Image, Points, Vision
from easyphoto.vision import pose
from tests.fakes import face_in


def seen(yaw: float, pitch: float, roll: float) -> Face:
    """The average head, turned to the viewer's right, then up, then clockwise, as a camera sees it."""
    axes = ((0, 1, 0), -yaw), ((1, 0, 0), -pitch), ((0, 0, 1), roll)
    turn = np.eye(3)
    for axis, degrees in axes:
        turn = cv2.Rodrigues(np.radians(degrees) * np.array(axis, np.float64))[0] @ turn
    camera = np.array([[1000.0, 0, 256], [0, 1000, 256], [0, 0, 1]])
    projected, _ = cv2.projectPoints(pose._HEAD, cv2.Rodrigues(turn)[0], np.array([0.0, 0, 900]), camera, None)
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[pose._OF_68] = projected[:, 0]
    return Face(box=(0, 0, 512, 512), points=np.zeros((5, 2), np.float32), landmarks=landmarks)


@given(st.floats(-50, 50), st.floats(-25, 25), st.floats(-35, 35))
def test_a_turned_head(yaw: float, pitch: float, roll: float) -> None:
    found = pose.pose(seen(yaw, 0, 0))
    assert np.allclose((found.yaw, found.pitch, found.roll), (yaw, 0, 0), atol=4)
    found = pose.pose(seen(0, pitch, 0))
    assert np.allclose((found.yaw, found.pitch, found.roll), (0, pitch, 0), atol=4)
    found = pose.pose(seen(0, 0, roll))
    assert np.allclose((found.yaw, found.pitch, found.roll), (0, 0, roll), atol=4)


@given(st.floats(-40, 40), st.floats(-25, 25), st.floats(0.75, 1.3))
def test_the_nose_tells_a_turn_however_wide_the_face_is(yaw: float, roll: float, wide: float) -> None:
    points = seen(yaw, 0, roll).landmarks
    assert points is not None
    found = pose.aside(points)
    assert abs(found - yaw) < 4 + 0.1 * abs(yaw)
    assert abs(pose.aside(points * 0.5 + 7) - found) < 0.1, "wherever and however large the face is"
    level = seen(yaw, 0, 0).landmarks
    assert level is not None
    assert abs(pose.aside(level * np.float32((wide, 1))) - pose.aside(level)) < 0.1


def test_a_heap_of_points_has_some_pose() -> None:
    assert np.isfinite(pose.aside(np.full((68, 2), 3, np.float32)))
    spot = Face(box=(0, 0, 1, 1), points=np.full((5, 2), 3, np.float32))
    assert all(np.isfinite(v) for v in vars(pose.pose(spot)).values())


class Guessing:
    """Vision whose points always lean to the same side, as those of a head in profile do."""

    def __init__(self, lean: float) -> None:
        self.landmarks = self
        self._lean = lean

    def locate(self, image: Image, face: Face) -> Points:
        found = face_in(face.box).landmarks
        assert found is not None
        return found + np.array([self._lean * face.width, 0], np.float32)


def with_nose_moved(face: Face, share: float) -> Face:
    """A face whose nose lies aside by this share of its width, as in a head that is turned."""
    assert face.landmarks is not None
    aside = face.landmarks.copy()
    aside[30, 0] += share * face.width
    return dataclasses.replace(face, landmarks=aside)


def test_points_that_do_not_hold_in_the_mirror_are_of_a_head_in_profile() -> None:
    face, image = face_in((60.0, 60.0, 140.0, 160.0)), np.full((200, 200, 3), 128, np.uint8)
    turned = with_nose_moved(face, 0.2)
    steady = pose.pose_in(cast(Any, Guessing(0)), image, turned)
    assert pose.TURNED < abs(steady.yaw) < 60
    assert abs(pose.pose_in(cast(Any, Guessing(0.08)), image, turned).yaw) == pose.PROFILE
    assert pose.unsteadiness(cast(Any, Guessing(0)), image, face) < 0.02


def test_mere_guesses_are_of_a_head_in_profile_though_they_turn_it_less() -> None:
    face, image = face_in((60.0, 60.0, 140.0, 160.0)), np.full((200, 200, 3), 128, np.uint8)
    turned = with_nose_moved(face, 0.02)
    assert pose.LEANING < abs(pose.pose(turned).yaw) < pose.TURNED
    shaking, guessing = cast(Any, Guessing(0.03)), cast(Any, Guessing(0.15))
    assert pose.STEADY < pose.unsteadiness(shaking, image, turned) < pose.GUESSED
    assert pose.pose_in(shaking, image, turned) == pose.pose(turned)
    assert abs(pose.pose_in(guessing, image, turned).yaw) == pose.PROFILE


def test_a_head_that_looks_ahead_stays_so_however_its_points_move() -> None:
    """Hard shadows, dark glasses and beards move the points too."""
    face, image = face_in((60.0, 60.0, 140.0, 160.0)), np.full((200, 200, 3), 128, np.uint8)
    shaking = cast(Any, Guessing(0.08))
    assert pose.unsteadiness(shaking, image, face) > pose.STEADY
    assert pose.pose_in(shaking, image, face) == pose.pose(face)


def test_photographs_of_heads_that_look_ahead_are_steady(
    vision: Vision, astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face
) -> None:
    for image, face in ((astronaut, collins), (grace_hopper, hopper)):
        assert pose.unsteadiness(vision, image, face) < pose.STEADY
        bare = dataclasses.replace(face, landmarks=None)
        assert abs(pose.pose_in(vision, image, bare).yaw - pose.pose(face).yaw) < 6
