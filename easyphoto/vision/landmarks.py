"""The 68 points of the iBUG scheme: where they come from, their groups, the five points, a face's box and outlines."""

from __future__ import annotations

import numpy as np

from easyphoto.ports import Face, Image, Points, Vision
from easyphoto.vision import geometry

JAW = slice(0, 17)
LEFT_BROW, RIGHT_BROW = slice(17, 22), slice(22, 27)
NOSE_BRIDGE, NOSTRILS = slice(27, 31), slice(31, 36)
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
OUTER_LIPS, INNER_LIPS = slice(48, 60), slice(60, 68)

FOREHEAD = 0.75
"""How far the forehead reaches above the brows, in distances from the brows to the base of the nose."""


def of(vision: Vision, image: Image, face: Face) -> Points:
    """The 68 points of ``face``, shape (68, 2): those that its detector gave, or else those that the role ``landmarks``
    finds."""
    return face.landmarks if face.landmarks is not None else vision.landmarks.locate(image, face)


def five(landmarks: Points) -> Points:
    """The five points: the centres of the eyes, the tip of the nose and the corners of the mouth, each pair from left
    to right. Shape (5, 2)."""
    eyes = landmarks[LEFT_EYE].mean(0), landmarks[RIGHT_EYE].mean(0)
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]]).astype(np.float32)


def face_of(landmarks: Points, score: float = 1.0) -> Face:
    """The face that has these 68 points. Its box holds them and the lower half of the forehead."""
    points = np.asarray(landmarks, np.float32)
    reach = np.concatenate([points, forehead(points, FOREHEAD / 2)])
    low, high = reach.min(0), reach.max(0)
    box = float(low[0]), float(low[1]), float(high[0]), float(high[1])
    return Face(box=box, points=five(points), landmarks=points, score=score)


def forehead(landmarks: Points, height: float = FOREHEAD) -> Points:
    """The arc over the brows, from the left temple to the right one, shape (9, 2). It lies above the brows by
    ``height`` times the distance from the brows to the base of the nose."""
    points = np.asarray(landmarks, np.float64)
    brows = points[17:27]
    down = points[33] - brows[[2, 7]].mean(0)
    left, right = points[0], points[16]
    t = np.linspace(0, 1, 11)[1:-1, None]
    # The points go from temple to temple. They are lifted from the line through the temples to that of the brows, and
    # on over it.
    base = left + (right - left) * t
    line = brows[[2, 7]].mean(0)
    axis = down / max(1e-6, float(np.hypot(*down)))
    lift = float((base.mean(0) - line) @ axis) + height * float(np.hypot(*down))
    arch = np.sin(np.pi * t) ** 0.5
    arc: Points = (base - axis * lift * arch).astype(np.float32)
    return arc


def outline(landmarks: Points) -> Points:
    """The outline of the whole face, jaw and forehead, as a closed polygon."""
    return np.concatenate([landmarks[JAW], forehead(landmarks)[::-1]]).astype(np.float32)


def grown(points: Points, factor: float) -> Points:
    """``points`` moved away from their centre: each distance is ``factor`` times as long."""
    center = points.mean(0)
    return np.asarray(center + (points - center) * factor, np.float32)


def from_five(points: Points, mean_shape: Points) -> Points:
    """68 points for a face of which only five are known: ``mean_shape`` laid on them by similarity."""
    return geometry.transform(geometry.similarity(five(mean_shape), points), mean_shape)


def distance(a: Points, b: Points) -> float:
    """How far the points of two sets lie apart, in pixels (root mean square)."""
    return float(np.sqrt(((a - b) ** 2).sum(1).mean()))
