"""Face fusion without a network: the face of the source is bent onto the landmarks of the target, its colours are
matched, and its edges are hidden by Poisson blending (Perez et al., 2003)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image, Mask, Points
from easyphoto.vision import colour, eyewear, geometry, landmarks, masks
from easyphoto.vision.backend import Context
from easyphoto.vision.face_parts import face_parts
from easyphoto.vision.warping import bent_by, field, stretch

LIKENESS = 0.5
"""How far the brows, the eyes, the nose and the mouth move from where the target has them to where the source does."""
FOREHEAD = 0.18
"""How far the fused region may reach over the brows, in the unit of :func:`easyphoto.vision.landmarks.forehead`."""
EVEN, FEATHER, RELIGHT = 0.03, 0.05, 0.12
"""In shares of the region's width: how far its outline is evened, how wide its soft edge is, and over what distance the
light is compared."""
PIECE = 0.05
"""The region may be cut by a strand of hair: its pieces count from this share of the largest on."""
MOST_STRETCH = 1.8
"""By how much more than the middle of its face the source may be drawn out."""
CANVAS = 1.5
"""The side of the square that is worked on, in sides of the face's box. The fused region ends well inside it."""
LIGHT_SIDE, POISSON_SIDE = 192, 384
"""The sizes at which the light and the correction are computed, which both are smooth."""
MOST_CONTRAST = 1.15
"""By how much the source's contrast may grow. More would turn harsh light into white patches."""
CORRECTION = 12.0
"""The most, in levels, that Poisson blending may add to a channel (0-255)."""


class WarpFuser:
    """Fuses faces by bending, matching of colours and Poisson blending."""

    name = "warp"
    bends = True

    def __init__(self, context: Context) -> None:
        self._landmarks = context.landmarks

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        """``target`` with the face of the source. Outside the target's face no bit changes."""
        own = np.asarray(self._landmarks(target, target_face), np.float32)
        given = np.asarray(self._landmarks(source, source_face), np.float32)
        # A padded square around the face is worked on, because for Poisson blending the mask must not touch the border.
        placed = landmarks.face_of(own)
        side = max(16, round(CANVAS * max(placed.width, placed.height)))
        x, y = placed.center
        left, top = round(x - side / 2), round(y - side / 2)
        shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
        canvas = geometry.warp(target, shift, (side, side))
        near, near_points = _near(source, given, side)
        fused, mask = fuse_aligned(canvas, geometry.transform(shift, own), near, near_points)
        return _put(target, canvas, fused, mask, (left, top))


def _near(source: Image, points: Points, side: int) -> tuple[Image, Points]:
    """The part of the source around its face, shrunk to what a square of ``side`` needs, so that it doesn't alias when
    it is bent."""
    face = landmarks.face_of(points)
    around, moved = geometry.cut_padded(source, face, CANVAS)
    own = around.shape[0]
    sized = min(own, side)
    near = geometry.resize(around, (sized, sized))
    found = moved.landmarks if moved.landmarks is not None else points
    whole = geometry.Crop(0, 0, own, own)
    return near, geometry.transform(whole.to_local((sized, sized)), found)


def fuse_aligned(target: Image, own: Points, source: Image, given: Points) -> tuple[Image, Mask]:
    """The fused picture and the mask of what may have changed in it."""
    size = target.shape[0], target.shape[1]
    anchors = np.concatenate([_places(own, given), landmarks.forehead(own)])
    sheet = np.dstack([source, np.rint(face_parts(source, given).face * 255).astype(np.uint8)])
    maps = field(np.concatenate([given, landmarks.forehead(given)]), anchors, size)
    bent_sheet = bent_by(sheet, maps)
    bent = np.ascontiguousarray(bent_sheet[..., :3])
    bare = np.asarray(bent_sheet[..., 3] / np.float32(255), np.float32)
    bare[_drawn_out(maps, bare)] = 0
    parts = face_parts(target, own)
    region = _region(own, masks.intersection(parts.face, bare), parts.brows)
    if not region.any():
        return target, region
    width = masks.width_of(region)
    worn = masks.empty(size)
    if eyewear.worn(source, given):
        worn = _arms_beside(bent_by(eyewear.arms(source, given, hinges=False), maps), maps, region, width)
    sample = masks.intersection(region, parts.skin)
    if sample.any():
        everywhere = np.ones(size, np.float32)
        bent = colour.shift(bent, sample, target, sample, feather=everywhere, contrast=MOST_CONTRAST)
        bent = _relit(bent, target, sample, RELIGHT * width)
    alpha = masks.union(masks.feather_inside(region, FEATHER * width), worn)
    return geometry.blend(target, _cloned(bent, target, region), alpha), alpha


def _relit(image: Image, model: Image, sample: Mask, sigma: float) -> Image:
    """``image`` with the slow changes of light that ``model`` has over ``sample``."""
    # Slow changes can be computed on a small picture, and on a large one the blur would take long.
    size = image.shape[0], image.shape[1]
    small = geometry.limit_long_side(size, LIGHT_SIDE)
    sigma *= small[0] / size[0]
    seen = geometry.resize_mask(sample, small)
    difference = colour.to_lab(geometry.resize(model, small)) - colour.to_lab(geometry.resize(image, small))
    weight = cv2.GaussianBlur(seen, (0, 0), sigma) + np.float32(1e-3)
    slow = cv2.GaussianBlur(difference * seen[..., None], (0, 0), sigma) / weight[..., None]
    return colour.to_rgb(colour.to_lab(image) + cv2.resize(slow, size[::-1], interpolation=cv2.INTER_LINEAR))


def _cloned(image: Image, target: Image, region: Mask) -> Image:
    """``image`` with the smooth correction that Poisson blending finds along the edge of the region. Where the edge
    runs along hair or glasses the correction is kept small, or it would shine into the face."""
    full = image.shape[0], image.shape[1]
    small = geometry.limit_long_side(full, POISSON_SIDE)
    over, under = geometry.resize(image, small), geometry.resize(target, small)
    marked = (geometry.resize_mask(region, small) > 0.5).astype(np.uint8) * 255
    rows, columns = np.nonzero(marked)
    if rows.size == 0:
        return image
    middle = (int(columns.min() + columns.max()) // 2, int(rows.min() + rows.max()) // 2)
    cloned = cv2.seamlessClone(over, under, marked, middle, cv2.NORMAL_CLONE)
    correction = np.clip(cloned.astype(np.float32) - over, -CORRECTION, CORRECTION)
    smooth = cv2.GaussianBlur(correction, (0, 0), max(1.0, 0.02 * (columns.max() - columns.min())))
    smooth = cv2.resize(smooth, full[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.rint(np.clip(image + smooth, 0, 255)), np.uint8)


def _places(own: Points, given: Points) -> Points:
    """The landmarks of the target, of which the inner ones are moved towards where the source has them."""
    inner = np.arange(17, 68)
    laid = geometry.transform(geometry.similarity(given[inner], own[inner]), given)
    wanted = own.copy()
    wanted[inner] += LIKENESS * (laid[inner] - own[inner])
    return wanted


def _drawn_out(maps: NDArray[np.float32], face: Mask) -> NDArray[np.bool_]:
    """Where the source is drawn out so much more than most of its ``face`` that it would be a smear: there it shows the
    cheek that it turns away."""
    drawn = stretch(maps)
    inside = drawn[face > 0.5]
    return drawn > MOST_STRETCH * float(np.median(inside)) if inside.size else np.zeros(face.shape, bool)


def _arms_beside(bent: Mask, maps: NDArray[np.float32], region: Mask, width: float) -> Mask:
    """The arms of the source's glasses beside the region, with soft edges: without them the glasses would end in the
    air. Where the source would be drawn out to a smear they end."""
    whole = masks.clear_of_border(bent, 3)
    whole[_drawn_out(maps, region)] = 0
    return masks.without(whole, masks.erode(region, FEATHER * width))


def _region(points: Points, bare: Mask, brows: Mask) -> Mask:
    """The face from the brows down, with as much of the forehead as is bare in both pictures, and the whole of the
    ``brows``. The edge of the region is even and doesn't touch the border."""
    size = bare.shape[0], bare.shape[1]
    jaw = landmarks.grown(points[landmarks.JAW], 0.97)
    whole = masks.polygon(size, np.concatenate([jaw, landmarks.forehead(points, FOREHEAD)[::-1]]))
    even = masks.feather(masks.intersection(whole, bare), EVEN * masks.width_of(whole))
    region = masks.intersection(whole, (even > 0.5).astype(np.float32))
    ends = masks.dilate(brows, FEATHER * masks.width_of(whole))
    region = masks.union(region, masks.intersection(ends, (bare > 0.5).astype(np.float32)))
    return masks.clear_of_border(masks.close_holes(masks.pieces(region, PIECE)), 3)


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
