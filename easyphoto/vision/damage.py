"""Whether the eyes of a face are closed, and whether there are holes in it: what a likeness doesn't see."""

from __future__ import annotations

import numpy as np

from easyphoto.ports import Image, Points
from easyphoto.vision import geometry, landmarks, masks, skin

CLOSED, OPEN = 0.16, 0.2
"""An eye that is less high than the first, as a share of its width, is closed; from the second on it is open. Of 266
portraits the ten below the first had closed eyes or squinted."""
HOLE, SIDE, CROP = 6.0, 200, 1.3
"""A hole is a part of the skin whose colour is at least so far from that of the cheeks (a Mahalanobis distance), looked
at in a square of so many pixels and faces."""
HOLES = 0.06
"""The share of the skin that may be holes beyond what the picture before had of it."""


def torn(image: Image, points: Points, before: Image, before_points: Points) -> bool:
    """Whether a face that was painted into a picture is torn: its eyes are closed and those of the face ``before`` were
    open, or it has holes that the face before had not. The points are the 68 of each face."""
    if openness(points) < CLOSED and openness(before_points) >= OPEN:
        return True
    return holes(image, points) > holes(before, before_points) + HOLES


def openness(points: Points) -> float:
    """How high the eye that is less open is, as a share of its width (Soukupova and Cech, 2016)."""
    found = []
    for eye in (points[landmarks.LEFT_EYE], points[landmarks.RIGHT_EYE]):
        high = np.hypot(*(eye[1] - eye[5])) + np.hypot(*(eye[2] - eye[4]))
        found.append(float(high) / 2 / max(1e-3, float(np.hypot(*(eye[0] - eye[3])))))
    return min(found)


def holes(image: Image, points: Points) -> float:
    """The share of the skin below the brows, without the nostrils, that has another colour than the cheeks."""
    around, moved = geometry.cut_padded(image, landmarks.face_of(points), CROP)
    small = geometry.resize(around, (SIDE, SIDE))
    own = np.asarray((points if moved.landmarks is None else moved.landmarks) * (SIDE / around.shape[0]), np.float32)
    distance = skin.distance(small, own, steady=True)
    if distance is None:
        return 1.0
    size = small.shape[0], small.shape[1]
    face = masks.polygon(size, np.concatenate([landmarks.grown(own[landmarks.JAW], 0.9), own[17:27][::-1]]))
    looked = masks.without(
        face,
        *(masks.hull(size, landmarks.grown(own[g], 1.7)) for g in skin.EYES),
        masks.hull(size, landmarks.grown(own[landmarks.OUTER_LIPS], 1.3)),
        masks.hull(size, landmarks.grown(own[landmarks.NOSTRILS], 1.5)),
        *(masks.dilate(masks.hull(size, own[b]), 5) for b in (landmarks.LEFT_BROW, landmarks.RIGHT_BROW)),
    )
    where = looked > 0.5
    return float((distance[where] > HOLE).mean()) if where.any() else 0.0
