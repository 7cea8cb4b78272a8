"""Masks: ``float32`` of shape (height, width), in [0, 1]. These are pure functions, and lengths are in pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Mask, Points

LEAST = 0.05
"""An edge that would be softened over fewer pixels than this stays hard."""


def empty(size: tuple[int, int]) -> Mask:
    """A mask of (height, width) that is 0 everywhere."""
    return np.zeros(size, np.float32)


def extent(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """The rows and columns of the smallest rectangle that holds all of ``mask`` that isn't 0, and ``margin`` pixels
    more on each side as far as there are any; the first pixel where all of it is 0."""
    lines = (np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1))
    ends = [(int(line[0]), int(line[-1]) + 1) if line.size else (0, 1) for line in lines]
    rows, columns = (slice(max(0, first - margin), last + margin) for first, last in ends)
    return rows, columns


def polygon(size: tuple[int, int], points: Points) -> Mask:
    """1 inside the polygon of ``points`` (n, 2), whose edge is soft over one pixel. The polygon may reach out of the
    picture."""
    drawn = np.zeros(size, np.uint8)
    cv2.fillPoly(drawn, [_fixed(points)], 255, lineType=cv2.LINE_AA, shift=4)
    return (drawn / np.float32(255)).astype(np.float32)


def hull(size: tuple[int, int], points: Points) -> Mask:
    """1 inside the convex hull of ``points``."""
    outline = cv2.convexHull(np.asarray(points, np.float32))
    # OpenCV finds no hull for points that all coincide.
    return polygon(size, points if outline is None else outline[:, 0])


def dilate(mask: Mask, radius: float) -> Mask:
    """1 within ``radius`` of where ``mask`` is over a half. The edges are hard."""
    return (_distance(mask <= 0.5) <= radius).astype(np.float32)


def erode(mask: Mask, radius: float) -> Mask:
    """1 where ``mask`` is over a half and its edge is further away than ``radius``. The border of the picture doesn't
    count as an edge."""
    return (_distance(mask > 0.5) > radius).astype(np.float32)


def close_holes(mask: Mask) -> Mask:
    """``mask`` with the holes filled that it surrounds. The edges are hard."""
    binary = (mask > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(binary.copy(), outlines, -1, 1, thickness=cv2.FILLED)
    return np.asarray(filled, np.float32)


def largest(mask: Mask) -> Mask:
    """The largest connected piece of ``mask``. The edges are hard."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8), connectivity=8)
    if count <= 1:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), np.float32)


def pieces(mask: Mask, share: float) -> Mask:
    """The connected pieces of ``mask`` that have at least ``share`` of the size of the largest. The edges are hard."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8), connectivity=8)
    if count <= 1:
        return np.zeros_like(mask)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(sizes >= share * sizes.max())
    return np.asarray(np.isin(labels, kept), np.float32)


def ring(mask: Mask, inner: float, outer: float) -> Mask:
    """The band along the edge of the mask, from ``inner`` pixels inside it to ``outer`` pixels outside it. The edges
    are hard."""
    return np.clip(dilate(mask, outer) - erode(mask, inner), 0.0, 1.0).astype(np.float32)


def feather(mask: Mask, sigma: float) -> Mask:
    """``mask`` with its edges softened to both sides, by a Gaussian of ``sigma``."""
    if sigma < LEAST:
        return mask.copy()
    return np.asarray(np.clip(cv2.GaussianBlur(mask, (0, 0), sigma), 0.0, 1.0), np.float32)


def blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """``values`` (height, width) of any range, blurred by a Gaussian of ``sigma``."""
    return values if sigma < LEAST else np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def feather_inside(mask: Mask, width: float) -> Mask:
    """``mask`` with soft edges inside it: it rises from 0 at the edge to 1 at ``width`` pixels from it. It is exactly 0
    where ``mask`` is at most a half."""
    inside = mask > 0.5
    if width < LEAST:
        return inside.astype(np.float32)
    t = np.clip(_distance(inside) / np.float32(width), 0.0, 1.0)
    return np.asarray(np.where(inside, t * t * (3 - 2 * t), 0.0), np.float32)


def union(*masks: Mask) -> Mask:
    """The greatest of the masks, pixel by pixel."""
    return np.asarray(np.maximum.reduce(masks), np.float32)


def intersection(*masks: Mask) -> Mask:
    """The least of the masks, pixel by pixel."""
    return np.asarray(np.minimum.reduce(masks), np.float32)


def without(mask: Mask, *others: Mask) -> Mask:
    """``mask`` without what any of ``others`` covers."""
    return np.asarray(mask * (1 - union(*others)), np.float32) if others else mask.copy()


def clear_of_border(mask: Mask, margin: int) -> Mask:
    """``mask`` with 0 within ``margin`` pixels of the picture's border."""
    cleared = np.zeros_like(mask)
    height, width = mask.shape
    rows, columns = slice(margin, max(margin, height - margin)), slice(margin, max(margin, width - margin))
    cleared[rows, columns] = mask[rows, columns]
    return cleared


def width_of(mask: Mask) -> int:
    """How many columns there are from the leftmost to the rightmost set pixel; 0 when no pixel is set."""
    columns = np.flatnonzero((mask > 0.5).any(axis=0))
    return 0 if columns.size == 0 else int(columns[-1] - columns[0]) + 1


def _distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far each pixel is from the nearest one that isn't ``inside``: 0 where it isn't itself, infinite everywhere
    when all are inside."""
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def _fixed(points: Points) -> NDArray[np.int32]:
    # OpenCV draws with fixed-point coordinates of 4 fractional bits, which points that are far off would overflow.
    return np.rint(np.clip(np.asarray(points, np.float64), -1e5, 1e5) * 16).astype(np.int32)
