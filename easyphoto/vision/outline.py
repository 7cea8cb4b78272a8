"""One face gets the outline of another. What lies around the jaw moves with it, and everything else stays."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Image, Mask, Points
from easyphoto.vision import geometry, landmarks
from easyphoto.vision.warping import bend

FURTHEST = 0.12
"""How far a point of the jaw may move, in widths of the face. If it moved further the bend itself would show."""
REACH = 2.2
"""The side of the square that is bent, in sides of the face. The border of the square stays where it is."""
RING, RING_POINTS = 0.92, 24
"""The radius of the circle of points that stay: a share of the way from the middle of that square to its border."""
STILL = 0.25
"""A move by fewer pixels than this changes nothing that anybody could see."""


def wanted_jaw(own: Points, given: Points) -> Points:
    """The points, shape (17, 2), to which the jaw of the face ``own`` moves to have the outline of ``given``. Both have
    68 points; the inner ones, from the brows to the mouth, say how one face lies on the other. The temples, where the
    hair begins, stay."""
    inner = slice(landmarks.JAW.stop, 68)
    laid = geometry.transform(geometry.similarity(given[inner], own[inner]), given)[landmarks.JAW]
    jaw = own[landmarks.JAW]
    move = laid - jaw
    length = np.hypot(move[:, 0], move[:, 1])[:, None]
    width = max(1.0, float(np.hypot(*(jaw[16] - jaw[0]))))
    move = move * np.minimum(1.0, FURTHEST * width / np.maximum(length, 1e-6))
    share = np.clip(np.minimum(np.arange(17), 16 - np.arange(17)) / 4, 0, 1)[:, None]
    return np.asarray(jaw + move * share, np.float32)


def match(image: Image, own: Points, given: Points) -> tuple[Image, Mask]:
    """``image`` with its face ``own`` (68 points) bent to the outline of ``given``, and a mask of 0 and 1 that says
    what may have changed."""
    jaw = wanted_jaw(own, given)
    unchanged = np.zeros(image.shape[:2], np.float32)
    if float(np.abs(jaw - own[landmarks.JAW]).max()) < STILL:
        return image, unchanged
    placed = landmarks.face_of(own)
    side = max(16, round(REACH * max(placed.width, placed.height)))
    x, y = placed.center
    left, top = round(x - side / 2), round(y - side / 2)
    shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
    canvas = geometry.warp(image, shift, (side, side))
    turn = np.arange(RING_POINTS) * 2 * np.pi / RING_POINTS
    ring = (side / 2 + RING * side / 2 * np.stack([np.cos(turn), np.sin(turn)], 1)).astype(np.float32)
    still = np.concatenate([geometry.transform(shift, np.concatenate([own[17:], landmarks.forehead(own)])), ring])
    moved, before = geometry.transform(shift, jaw), geometry.transform(shift, own[landmarks.JAW])
    bent = bend(canvas, np.concatenate([before, still]), np.concatenate([moved, still]), (side, side))
    soft = _disc(side)
    laid = geometry.blend(canvas, bent, soft)
    back = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    size = image.shape[1], image.shape[0]
    where = cv2.warpAffine((soft > 0).astype(np.float32), back, size, flags=cv2.INTER_NEAREST)
    whole = cv2.warpAffine(laid, back, size, flags=cv2.INTER_NEAREST)
    result: Image = np.where(where[..., None] > 0, whole, image).astype(np.uint8)
    return result, where


def _disc(side: int) -> Mask:
    """A mask that is 1 inside the ring of points that stay and falls to 0 towards the border of the square."""
    at = (np.arange(side, dtype=np.float32) + 0.5) / (side / 2) - 1
    far = np.hypot(at[:, None], at[None])
    return np.asarray(np.clip((0.98 - far) / (0.98 - RING + 0.04), 0, 1), np.float32)
