"""Masks of a face's parts, made from its 68 points. Where the hair begins the colour of the skin decides."""

from __future__ import annotations

from dataclasses import fields

import cv2
import numpy as np

from easyphoto.ports import FaceParts, Image, Mask, Points
from easyphoto.vision import covering, eyewear, geometry, landmarks, masks, skin

WORK_SIDE = 320
"""The longer side of the face, in pixels, at which colours are judged. Finer detail is pores and lashes."""
COVER_SIDE = 160
"""The same for what lies before the face: strands that are thinner don't count."""
SKIN_DISTANCE = 2.6
"""A pixel of the forehead is skin up to this Mahalanobis distance from the colour of the cheeks."""


def face_parts(image: Image, points: Points) -> FaceParts:
    """The parts of the face that has these 68 points: masks of the picture's size, whose edges are soft over one
    pixel."""
    size = image.shape[0], image.shape[1]
    reach = np.concatenate([points, landmarks.forehead(points)])
    (left, top), (right, bottom) = reach.min(0), reach.max(0)
    margin = 0.1 * max(float(right - left), float(bottom - top)) + 2
    crop = geometry.box_crop((left - margin, top - margin, right + margin, bottom + margin), size)
    near = _near_parts(geometry.cut(image, crop), geometry.transform(crop.to_local(), points))
    return FaceParts(**{f.name: _placed(getattr(near, f.name), crop, size) for f in fields(FaceParts)})


def _placed(mask: Mask, crop: geometry.Crop, size: tuple[int, int]) -> Mask:
    whole = masks.empty(size)
    whole[crop.top : crop.bottom, crop.left : crop.right] = mask
    return whole


def _near_parts(image: Image, points: Points) -> FaceParts:
    size = image.shape[0], image.shape[1]
    eyes = masks.union(*(masks.polygon(size, landmarks.grown(points[g], 1.35)) for g in skin.EYES))
    brows = masks.union(*(masks.polygon(size, brow_outline(points, side)) for side in (0, 1)))
    lips = masks.hull(size, points[landmarks.OUTER_LIPS])
    nose = masks.polygon(size, nose_outline(points))
    outline = masks.polygon(size, landmarks.outline(points))
    bare, covered = _bare(image, points)
    face = masks.union(masks.intersection(outline, bare), brows, eyes)
    whole = FaceParts(
        face=face, skin=masks.without(face, eyes, brows, lips), eyes=eyes, brows=brows, nose=nose, lips=lips
    )
    if not covered.any():
        return whole
    return FaceParts(**{f.name: masks.without(getattr(whole, f.name), covered) for f in fields(FaceParts)})


def brow_outline(points: Points, side: int) -> Points:
    """The polygon of one brow. It reaches further below the points than above them, because the predictor puts them
    along the brow's upper edge."""
    brow = points[landmarks.RIGHT_BROW if side else landmarks.LEFT_BROW]
    eye = points[landmarks.RIGHT_EYE if side else landmarks.LEFT_EYE].mean(0)
    down = (eye - brow.mean(0)) * 0.32
    up = -down * 0.45
    return np.asarray(np.concatenate([brow + up, (brow + down)[::-1]]), np.float32)


def nose_outline(points: Points) -> Points:
    """The polygon of the nose: a narrow bridge that widens to the wings."""
    across = (points[35] - points[31]) / 2
    bridge = points[27]
    wings = points[31] - across * 0.35, points[35] + across * 0.35
    base = points[33] + (points[33] - points[30]) * 0.15
    left, right = bridge - across * 0.45, bridge + across * 0.45
    upper = points[29] - across * 0.8, points[29] + across * 0.8
    return np.stack([left, upper[0], wings[0], base, wings[1], upper[1], right]).astype(np.float32)


def _bare(image: Image, points: Points) -> tuple[Mask, Mask]:
    """A mask that is 1 below the brows, and above them only where the picture has the colour of the cheeks, so that
    hair over the forehead doesn't count as the face. The second mask is 1 where something lies before the face."""
    size = image.shape[0], image.shape[1]
    scale = min(1.0, WORK_SIDE / max(size))
    small_size = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    small = cv2.GaussianBlur(geometry.resize(image, small_size), (0, 0), 1.0)
    moved = geometry.transform(geometry.Crop(0, 0, size[1], size[0]).to_local(small_size), points)
    bare = masks.union(_skin_coloured(small, moved), _below_brows(small_size, moved))
    return geometry.resize_mask(bare, size), _covered(image, points)


def _covered(image: Image, points: Points) -> Mask:
    """1 where something lies before the face that isn't glasses: these are the old face's own, and aren't kept before
    the new one."""
    size = image.shape[0], image.shape[1]
    small_size = geometry.limit_long_side(size, COVER_SIDE)
    moved = geometry.transform(geometry.Crop(0, 0, size[1], size[0]).to_local(small_size), points)
    covered = covering.covering(geometry.resize(image, small_size), moved)
    if covered.any() and eyewear.worn(image, points):
        covered = masks.without(covered, eyewear.lenses(small_size, moved))
    return geometry.resize_mask(covered, size) if covered.any() else masks.empty(size)


def _skin_coloured(image: Image, points: Points) -> Mask:
    size = image.shape[0], image.shape[1]
    distance = skin.distance(image, points)
    if distance is None:
        return np.ones(size, np.float32)
    alike = (distance < SKIN_DISTANCE).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    cleaned = cv2.morphologyEx(cv2.morphologyEx(alike, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)
    return masks.feather(masks.close_holes(np.asarray(cleaned, np.float32)), 1.5)


def _below_brows(size: tuple[int, int], points: Points) -> Mask:
    jaw = points[landmarks.JAW]
    brows = points[17:27]
    lift = (brows.mean(0) - points[33]) * 0.12
    return masks.polygon(size, np.concatenate([jaw, (brows + lift)[::-1]]))
