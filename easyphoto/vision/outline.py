"""The outline of one face given to another: what lies around the jaw moves with it, everything else stays."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Image, Mask, Points
from easyphoto.vision import geometry, landmarks
from easyphoto.vision.warping import bend

FURTHEST = 0.12
"""How far a point of the jaw may move, in widths of the face: further, the bend itself shows."""
REACH = 2.2
"""Side of the square that is bent, in sides of the face; its border stays."""
RING, RING_POINTS = 0.92, 24
"""Where, from the middle to the border of that square, the circle of points that stay is."""
STILL = 0.25
"""A move of less than so many pixels changes nothing that could be seen."""


def wanted_jaw(own: Points, given: Points) -> Points:
    """Where the jaw of the face ``own`` goes so that it has the outline of ``given``: (17, 2). Both have 68 points; the
    inner ones, brows to mouth, say how one lies on the other. The temples, where the hair begins, stay."""
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
    """``image`` with the face ``own`` (68 points) in the outline of ``given``, and the mask, 0 or 1, of what may have
    changed in it."""
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
    """1 inside the ring of points that stay, falling to 0 towards the border of the square."""
    at = (np.arange(side, dtype=np.float32) + 0.5) / (side / 2) - 1
    far = np.hypot(at[:, None], at[None])
    return np.asarray(np.clip((0.98 - far) / (0.98 - RING + 0.04), 0, 1), np.float32)
