"""What of the picture's own lies before a face: a fringe, strands, the brim of a hat, whatever has another colour than
the skin and comes in from outside."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image, Mask, Points
from easyphoto.vision import geometry, landmarks, masks, skin

FOREIGN = 3.6
"""A pixel covers the face from this Mahalanobis distance from the colour of the skin on."""
THINNEST, DEEPEST, LEAST = 0.03, 0.1, 0.004
"""In widths of the face: what is thinner isn't looked at, and what reaches less far into the face is its shadow. In
shares of the face's area: what is smaller isn't looked at."""
CLUTTER_CROP, CLUTTER_SIDE = 1.3, 200
"""The outline is judged in a square so many faces wide, of so many pixels."""
AROUND, HIDDEN = 0.06, 0.7
"""An eye with its brow is hidden if more than this share of what lies within so much around it is covered."""
BOTH_EYES = 0.2
"""From this share of the surroundings of both eyes on."""
BEARD = 2.6
"""The chin has a beard from this distance from the colour of the cheeks on: then the lower face isn't looked at."""


def covering(image: Image, points: Points) -> Mask:
    """1 where something lies before the face that has these 68 points. The edges are hard."""
    size = image.shape[0], image.shape[1]
    outline = masks.polygon(size, landmarks.outline(points))
    width = masks.width_of(outline)
    distance = skin.distance(image, points, steady=True)
    if distance is None or width == 0:
        return masks.empty(size)
    sides = [
        masks.union(masks.hull(size, _tall(points[eye])), masks.dilate(masks.hull(size, points[brow]), 0.05 * width))
        for eye, brow in zip(skin.EYES, (landmarks.LEFT_BROW, landmarks.RIGHT_BROW), strict=True)
    ]
    features = masks.union(
        *sides,
        masks.hull(size, landmarks.grown(points[landmarks.OUTER_LIPS], 1.25)),
        masks.hull(size, landmarks.grown(points[landmarks.NOSTRILS], 1.4)),
    )
    looked = masks.union(_upper(size, points), np.full(size, not _bearded(distance, size, points), np.float32))
    foreign = (distance > FOREIGN).astype(np.float32) * looked
    # What is as thin as an edge or a wrinkle goes.
    radius = THINNEST * width / 2
    foreign = masks.dilate(masks.erode(foreign, radius), radius)
    pieces = _from_outside(masks.without(foreign, features), outline, width)
    if not pieces.any() or _in_shadow(pieces, points, width):
        return masks.empty(size)
    for side in sides:
        # Brows, lashes and make-up are dark themselves: an eye is hidden where what lies around it is.
        around = masks.without(masks.dilate(side, AROUND * width), features) > 0.5
        if around.any() and float(pieces[around].mean()) > HIDDEN:
            pieces = masks.union(pieces, masks.intersection(foreign, side))
    return masks.intersection(pieces, outline)


def clutter(image: Image, points: Points) -> float:
    """How much of the outer part of both cheeks has another colour than the skin, from 0 to 1: strands, ears, earrings.
    Fused into another picture it would be seen there. A part that the head turns away doesn't count."""
    face = landmarks.face_of(points)
    around, moved = geometry.cut_padded(image, face, CLUTTER_CROP)
    scale = CLUTTER_SIDE / around.shape[0]
    small = geometry.resize(around, (CLUTTER_SIDE, CLUTTER_SIDE))
    own = np.asarray((points if moved.landmarks is None else moved.landmarks) * scale, np.float32)
    distance = skin.distance(small, own, steady=True)
    if distance is None:
        return 1.0
    size = small.shape[0], small.shape[1]
    whole = masks.polygon(size, landmarks.grown(own[landmarks.JAW], 0.97))
    inner = masks.polygon(size, landmarks.grown(own[landmarks.JAW], 0.78))
    band = masks.intersection(masks.without(whole, inner), _upper(size, own)) > 0.5
    return float((distance[band] > FOREIGN).mean()) if band.any() else 0.0


def _from_outside(foreign: Mask, outline: Mask, width: float) -> Mask:
    """The pieces of ``foreign`` that come into the face from outside and reach deep into it."""
    inside = outline > 0.5
    deep = masks.erode(outline, DEEPEST * width) > 0.5
    count, labels = cv2.connectedComponents((foreign > 0.5).astype(np.uint8), connectivity=8)
    found = masks.empty((inside.shape[0], inside.shape[1]))
    for label in range(1, count):
        piece = labels == label
        within = piece & inside
        if within.sum() >= LEAST * inside.sum() and (piece & ~inside).any() and (piece & deep).any():
            found[piece] = 1.0
    return found


def _tall(eye: Points) -> Points:
    """An eye with its lids and the shadow above them."""
    middle = eye.mean(0)
    return np.asarray(middle + (eye - middle) * (2.0, 2.6), np.float32)


def _upper(size: tuple[int, int], points: Points) -> Mask:
    """The face above the base of the nose, and what lies beside it."""
    left, right = points[2], points[14]
    down = points[33] - points[27]
    far = (right - left) * 2
    base = (left + right) / 2 * 0.3 + points[33] * 0.7
    row = np.stack([base - far, base + far, base + far - down * 8, base - far - down * 8])
    return masks.polygon(size, np.asarray(row, np.float32))


def _bearded(distance: NDArray[np.float64], size: tuple[int, int], points: Points) -> bool:
    """Whether the chin has another colour than the cheeks."""
    chin = masks.hull(size, landmarks.grown(points[[6, 8, 10, 57]], 0.8)) > 0.5
    return bool(chin.any()) and float(np.median(distance[chin])) > BEARD


def _in_shadow(pieces: Mask, points: Points, width: float) -> bool:
    """Whether what was found lies around both eyes: then it is the shadow of a hat or strong light, and nothing that
    lies before the face."""
    shares = []
    for eye in skin.EYES:
        around = masks.dilate(masks.hull((pieces.shape[0], pieces.shape[1]), points[eye]), 0.1 * width) > 0.5
        shares.append(float(pieces[around].mean()) if around.any() else 0.0)
    return min(shares) > BOTH_EYES
