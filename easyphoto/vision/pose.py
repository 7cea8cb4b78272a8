"""Where a head looks, from its landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image, Points, Vision
from easyphoto.vision import geometry, landmarks

# Nose tip, chin, outer eye corners, mouth corners of an average adult head in millimetres, x to the viewer's right,
# y down, z away from the viewer, from the nose tip.
_HEAD = np.array(
    [[0, 0, 0], [0, 63.6, 12.5], [-43.3, -32.7, 26], [43.3, -32.7, 26], [-28.9, 28.9, 24.1], [28.9, 28.9, 24.1]],
    np.float64,
)
_OF_68 = [30, 8, 36, 45, 48, 54]
# The five points: the centres of the eyes, the tip of the nose and the corners of the mouth.
_HEAD_FIVE = np.array(
    [[-31, -32.7, 24], [31, -32.7, 24], [0, 0, 0], [-28.9, 28.9, 24.1], [28.9, 28.9, 24.1]], np.float64
)


PROFILE = 90.0
STEADY = 0.06
"""Points can be trusted whose :func:`unsteadiness` is at most this. Of 52 portraits, the nine heads in profile and two
that look steeply up and down had 0.062 to 0.45, and all others at most 0.055. It hardly grows in faces as small as 50
pixels."""
TURNED = 25.0
"""The points of a head in profile look at least so many degrees aside. Of 239 portraits, 36 had points that can't be
trusted. Of the 12 whose points looked less than 30 degrees aside, eleven showed both sides of the face to the eye, but
had harsh shadows, dark glasses, a beard or an open mouth, and one was nearly in profile. From 25 degrees on such points
count as those of a profile all the same: a head with glasses at 28 degrees came out torn on faces that look ahead."""
GUESSED, LEANING = 0.14, 18.0
"""Points that move by this much are guesses, and ``LEANING`` degrees are then enough for a head in profile. Of 520
portraits eight were so at less than 30 degrees: five were in profile or nearly so, and of the others two had their
eyes cast down and one looked up."""
_PART = 2.5


@dataclass(frozen=True)
class Pose:
    """Where a head looks, in degrees. ``yaw`` is positive when the face turns to the viewer's right, ``pitch`` when it
    looks up, and ``roll`` when the viewer sees the head tilt clockwise. All are 0 for a frontal face."""

    yaw: float
    pitch: float
    roll: float

    @property
    def guessed(self) -> bool:
        """Whether the head is in profile, so that its points are guesses."""
        return abs(self.yaw) >= PROFILE


def pose_in(vision: Vision, image: Image, face: Face) -> Pose:
    """The pose of a face of ``image``, measured from its 68 points, whichever detector found it. Where the detector
    gave five points, these count too if they say that the head is turned further.

    The points of a head in profile are guessed as if it looked half ahead. Such guesses are unsteady, and a head that
    they turn by ``TURNED`` degrees or more (``LEANING`` where they are hardly more than guesses) is then taken to be
    turned by ``PROFILE``.
    """
    seen = pose(replace(face, landmarks=landmarks.of(vision, image, face)))
    if face.landmarks is None:
        seen = replace(seen, yaw=max(seen.yaw, pose(face).yaw, key=abs))
    if abs(seen.yaw) < LEANING:
        return seen
    moved = unsteadiness(vision, image, face)
    if moved <= (STEADY if abs(seen.yaw) >= TURNED else GUESSED):
        return seen
    return replace(seen, yaw=math.copysign(PROFILE, seen.yaw))


def unsteadiness(vision: Vision, image: Image, face: Face) -> float:
    """How far the points of a face move when they are looked for again, in widths of the face (root mean square). The
    jaw is looked for again in the mirror image, and the detector's own points, if it gave any, from the five points. 0
    where nothing can look again."""
    locator = getattr(vision, "landmarks", None)
    if locator is None:
        return 0.0
    part, own = geometry.cut_padded(image, face, _PART)
    flip = np.array([[-1.0, 0.0, part.shape[1] - 1.0], [0.0, 1.0, 0.0]])
    bare = replace(own, landmarks=None)
    mirrored = geometry.move_face(bare, flip)
    mirrored = replace(mirrored, points=mirrored.points[[1, 0, 2, 4, 3]])
    there = locator.locate(np.ascontiguousarray(part[:, ::-1]), mirrored)[landmarks.JAW][::-1]
    here = locator.locate(part, bare)
    width = max(face.width, 1.0)
    moved = landmarks.distance(geometry.transform(flip, there), here[landmarks.JAW]) / width
    return moved if own.landmarks is None else moved + landmarks.distance(own.landmarks, here) / width


def pose(face: Face) -> Pose:
    """The pose in which an average head, seen in perspective from five times its height, falls onto the landmarks."""
    if face.landmarks is not None:
        return _solve(_HEAD, face.landmarks[_OF_68])
    return _solve(_HEAD_FIVE, face.points)


def aside(landmarks: Points) -> float:
    """How many degrees a head of these 68 points is turned to the viewer's right, by the tip of its nose alone: how far
    that lies beside the middle between eyes and mouth, along the line of the eyes.

    :func:`pose` takes a narrow face or a small mouth for one that is turned, since a turn makes both narrower: of 192
    photos of heads that look ahead, a tenth had 25 degrees and more by it, and 10 by this.
    """
    points = np.asarray(landmarks, np.float64)
    nose, _, left, right, *mouth = points[_OF_68]
    across = right - left
    width = max(1e-6, float(np.hypot(*across)))
    beside = float((nose - (left + right + sum(mouth)) / 4) @ across) / width
    depth = _HEAD[2:, 2].mean() / (_HEAD[3, 0] - _HEAD[2, 0])
    return math.degrees(math.atan(beside / (depth * width)))


def _solve(head: NDArray[np.float64], seen: Points) -> Pose:
    points = np.asarray(seen, np.float64)
    middle, spread = points.mean(0), max(1.0, float(np.ptp(points, axis=0).max()))
    focal = 8 * spread
    camera = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    try:
        found, rotation, _ = cv2.solvePnP(head, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:  # Points in one spot or on one line are not those of a head.
        found = False
    if not found:
        return Pose(0.0, 0.0, 0.0)
    turn, _ = cv2.Rodrigues(rotation)
    # The direction in which the face looks, and its own right, in the camera's axes (x right, y down, z away).
    ahead, right = -turn[:, 2], turn[:, 0]
    yaw = math.degrees(math.atan2(ahead[0], -ahead[2]))
    pitch = math.degrees(math.atan2(-ahead[1], math.hypot(ahead[0], ahead[2])))
    roll = math.degrees(math.atan2(right[1], right[0]))
    return Pose(yaw, pitch, roll)
