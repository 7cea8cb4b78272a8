"""Where a head looks, from its landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Points

# Nose tip, chin, outer eye corners, mouth corners of an average adult head in millimetres, x to the viewer's right,
# y down, z away from the viewer, from the nose tip.
_HEAD = np.array(
    [[0, 0, 0], [0, 63.6, 12.5], [-43.3, -32.7, 26], [43.3, -32.7, 26], [-28.9, 28.9, 24.1], [28.9, 28.9, 24.1]],
    np.float64,
)
_OF_68 = [30, 8, 36, 45, 48, 54]
# The five points: eye centres, nose tip, mouth corners.
_HEAD_FIVE = np.array(
    [[-31, -32.7, 24], [31, -32.7, 24], [0, 0, 0], [-28.9, 28.9, 24.1], [28.9, 28.9, 24.1]], np.float64
)


@dataclass(frozen=True)
class Pose:
    """Degrees. ``yaw``: positive when the face turns to the viewer's right; ``pitch``: positive when it looks up;
    ``roll``: positive when the head tilts clockwise as seen by the viewer. All 0 for a frontal face."""

    yaw: float
    pitch: float
    roll: float


def pose(face: Face) -> Pose:
    """The pose that projects an average head onto the landmarks (perspective, a distance of five head heights)."""
    if face.landmarks is not None:
        return _solve(_HEAD, face.landmarks[_OF_68])
    return _solve(_HEAD_FIVE, face.points)


def _solve(head: NDArray[np.float64], seen: Points) -> Pose:
    points = np.asarray(seen, np.float64)
    middle, spread = points.mean(0), max(1.0, float(np.ptp(points, axis=0).max()))
    focal = 8 * spread
    camera = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    try:
        found, rotation, _ = cv2.solvePnP(head, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:  # points in one spot or on one line are no head
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
