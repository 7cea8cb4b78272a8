"""Face fusion without a network: the source's face bent onto the target's landmarks, its colours matched, its edges
hidden by Poisson blending (Perez et al., 2003)."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Face, Image, Mask, Points
from easyphoto.vision import colour, geometry, landmarks, masks
from easyphoto.vision.backend import Context
from easyphoto.vision.parts import face_parts
from easyphoto.vision.warping import bend

LIKENESS = 0.5
"""How far brows, eyes, nose and mouth move from the target's places to where the source's face has them."""
FOREHEAD = 0.3
"""How far the fused region reaches over the brows, as in landmarks.forehead."""


class WarpFuser:
    """Landmark warp, colour match and Poisson blending."""

    name = "warp"

    def __init__(self, context: Context) -> None:
        self._landmarks = context.landmarks

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        """``target`` with the source's face; outside the target's face no bit changes."""
        own = np.asarray(self._landmarks(target, target_face), np.float32)
        given = np.asarray(self._landmarks(source, source_face), np.float32)
        # Work on a padded square around the face: Poisson blending needs the mask clear of the border.
        placed = landmarks.face_of(own)
        side = max(16, round(2.2 * max(placed.width, placed.height)))
        x, y = placed.center
        left, top = round(x - side / 2), round(y - side / 2)
        shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
        canvas = geometry.warp(target, shift, (side, side))
        fused, mask = fuse_aligned(canvas, geometry.transform(shift, own), source, given)
        return _put(target, canvas, fused, mask, (left, top))


def fuse_aligned(target: Image, own: Points, source: Image, given: Points) -> tuple[Image, Mask]:
    """The fused picture and the mask of what may have changed in it."""
    size = target.shape[0], target.shape[1]
    wanted = _places(own, given)
    anchors = np.concatenate([wanted, landmarks.forehead(own)])
    bent = bend(source, np.concatenate([given, landmarks.forehead(given)]), anchors, size)
    parts = face_parts(target, own)
    region = masks.intersection(_region(size, own), masks.union(parts.face, parts.lips))
    region = masks.clear_of_border(masks.largest(region), 3)
    if not region.any():
        return target, region
    sample = masks.intersection(masks.erode(region, 2), parts.skin)
    bent = colour.shift(bent, sample, target, sample, feather=np.ones(size, np.float32))
    rows, columns = np.nonzero(region > 0.5)
    middle = (int(columns.min() + columns.max()) // 2, int(rows.min() + rows.max()) // 2)
    marked = (region > 0.5).astype(np.uint8) * 255
    cloned: Image = cv2.seamlessClone(bent, target, marked, middle, cv2.NORMAL_CLONE)
    alpha = masks.feather_inside(region, 0.04 * masks.width_of(region))
    return geometry.blend(target, cloned, alpha), alpha


def _places(own: Points, given: Points) -> Points:
    """The target's landmarks, the inner ones moved towards the source's arrangement."""
    inner = np.arange(17, 68)
    laid = geometry.transform(geometry.similarity(given[inner], own[inner]), given)
    wanted = own.copy()
    wanted[inner] += LIKENESS * (laid[inner] - own[inner])
    return wanted


def _region(size: tuple[int, int], points: Points) -> Mask:
    jaw = landmarks.grown(points[landmarks.JAW], 0.97)
    return masks.polygon(size, np.concatenate([jaw, landmarks.forehead(points, FOREHEAD)[::-1]]))


def _put(target: Image, canvas: Image, fused: Image, mask: Mask, corner: tuple[int, int]) -> Image:
    left, top = corner
    height, width = target.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + canvas.shape[1]), min(height, top + canvas.shape[0])
    result = target.copy()
    if x1 > x0 and y1 > y0:
        inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        changed = mask[inside][..., None] > 0
        result[y0:y1, x0:x1] = np.where(changed, fused[inside], target[y0:y1, x0:x1])
    return result
