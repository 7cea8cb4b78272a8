"""The steps between the passes: pure functions on pictures, masks and faces.

Lengths follow the face. The original extension gives them in pixels of its working size, where a face is about 170
pixels wide; here they are shares of the face's width, so that small and large working pictures are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto import families
from easyphoto.config import Family
from easyphoto.families.spec import MaskReach
from easyphoto.inference.plan import MULTIPLE
from easyphoto.ports import Face, FaceParts, Image, Mask, Points
from easyphoto.vision import colour, geometry, landmarks, masks
from easyphoto.vision.geometry import Crop, Size

Detail: TypeAlias = NDArray[np.float32]
"""What is added to a picture: (height, width, 3), in levels."""

CROP_RATIO = 3.0
FACE_ID_RATIO = 1.5
SEAM_OUTER, SEAM_INNER = 32 / 170, 16 / 170
EYE_GROWTH, SKIN_SHRINK, BLEND_FEATHER = 8 / 170, 4 / 170, 2.3 / 170
SHIFT_FEATHER = 9 / 170
TONE = 12 / 170
"""Within what distance of a pixel the pass over the seams keeps the light and the colour, in widths of the face."""
ORIGINAL = MaskReach()
LIPS_AGREE = 0.9
"""Two mouths lie in the same place if their lips share at least so much of what both cover."""
UNLIKE = 10.0, 25.0
"""From which to which difference in LAB of the template and the fused picture the share of fusion rises to all of
it."""
UNLIKE_WITHIN = 3 / 170
MOST_CONTRAST = 1.15
"""By how much the colour shift may raise the contrast of a face. More would turn harsh light into white patches."""
FINE = 1.5 / 170, 6 / 170
"""Below which size detail counts as fine, and over what distance its strength is compared, in widths of the face."""
INNER_GROWTH = 1.1
"""How many times larger than the features of a face in profile the part is that is repainted."""
OTHERS_MARGIN = 1.1
"""How many times larger than its box the region is that is guarded around another face."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The picture in which one face is worked on: ``crop`` of the whole picture, resized to ``size``. ``image`` is that
    picture, and ``face`` the face as it lies there."""

    crop: Crop
    size: Size
    image: Image
    face: Face


# --- frame -----------------------------------------------------------------------------------------------------------


def working_size(size: Size, family: Family, face_side: float) -> Size:
    """The size at which ``family`` works on a picture of ``size``, so that a face comes out well whose longer side has
    ``face_side`` pixels in that picture. Both sides are multiples of 32."""
    frame = families.spec(family).size
    if frame.area is not None:
        return geometry.fit_area(size, frame.area, MULTIPLE)
    short = frame.short_side or 512
    if frame.face_side is not None:
        short = min(short, max(frame.least_side, round(min(size) * frame.face_side / max(face_side, 1.0))))
    return geometry.fit_short_side(size, short, MULTIPLE)


def background_size(size: Size, family: Family, *, enlarge: bool) -> Size:
    """The size at which the background pass works. Unless ``enlarge`` is set, a smaller picture keeps its own size."""
    frame = families.spec(family).size
    long = max(size) / min(size) > 1.5
    short = frame.background_long_short_side if long else frame.background_short_side
    return geometry.fit_short_side(size, short if enlarge else min(short, *size), MULTIPLE)


def frame(picture: Image, face: Face, family: Family, *, crop: bool) -> Frame:
    """A square three times as large as the face, or the whole picture where ``crop`` is False, at the working size of
    ``family``."""
    size = picture.shape[0], picture.shape[1]
    area = geometry.face_crop(face, CROP_RATIO, size) if crop else Crop(0, 0, size[1], size[0])
    work = working_size(area.size, family, max(face.width, face.height))
    image = geometry.resize(geometry.cut(picture, area), work)
    return Frame(area, work, image, geometry.in_crop(face, area, work))


def nearest(faces: Sequence[Face], expected: Face) -> Face | None:
    """The face that stands where ``expected`` stood: the one whose box overlaps most; None when no box overlaps."""
    best = max(faces, key=lambda f: overlap(f, expected), default=None)
    return best if best is not None and overlap(best, expected) > 0.2 else None


def overlap(a: Face, b: Face) -> float:
    """The intersection of two boxes over their union."""
    width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    shared = max(width, 0.0) * max(height, 0.0)
    whole = a.width * a.height + b.width * b.height - shared
    return shared / whole if whole > 0 else 0.0


# --- what goes into a pass -------------------------------------------------------------------------------------------


def blend_mask(
    before: FaceParts, fused: FaceParts, ratio: float, face_width: float, unlike: Mask | None = None
) -> Mask:
    """How much of the fused picture is taken: the skin at ``ratio``, and fully where the two pictures are ``unlike``;
    the eyes fully; the lips not at all where both mouths lie in the same place, and fully where they don't, because two
    mouths would be seen. The edges are soft."""
    skin = masks.erode(masks.intersection(before.face, fused.face), SKIN_SHRINK * face_width)
    skin = masks.union(skin, _hard(before.brows), _hard(fused.brows))
    share = skin * np.float32(ratio)
    if unlike is not None:
        share += skin * unlike * np.float32(1 - ratio)
    # An eye that something hides in the template, a fringe or a hand, isn't laid over it.
    seen = masks.dilate(masks.close_holes(before.face), EYE_GROWTH * face_width)
    share[masks.intersection(masks.dilate(fused.eyes, EYE_GROWTH * face_width), seen) > 0.5] = 1.0
    mouths = masks.union(before.lips, fused.lips)
    share[mouths > 0.5] = 0.0 if same_mouth(before, fused) else 1.0
    return masks.feather(share, BLEND_FEATHER * face_width)


def same_mouth(a: FaceParts, b: FaceParts) -> bool:
    """Whether the lips of two faces of one picture lie in the same place."""
    either = float(masks.union(a.lips, b.lips).sum())
    return either == 0 or float(masks.intersection(a.lips, b.lips).sum()) >= LIPS_AGREE * either


def unlike(image: Image, fused: Image, face_width: float) -> Mask:
    """Where two pictures differ so much that a mixture would show both: the rims of glasses, brows, a shadow."""
    apart = np.linalg.norm(colour.to_lab(image) - colour.to_lab(fused), axis=2).astype(np.float32)
    low, high = UNLIKE
    share = np.clip((masks.blurred(apart, UNLIKE_WITHIN * face_width) - low) / (high - low), 0.0, 1.0)
    return np.asarray(share, np.float32)


def beside(image: Image, fused: Image, points: Points) -> Mask:
    """Where a fusion changed something outside the outline of a face with these 68 points: the arms of glasses."""
    changed = (image != fused).any(axis=2).astype(np.float32)
    return masks.without(changed, masks.polygon((image.shape[0], image.shape[1]), landmarks.outline(points)))


def replace_face(template: Image, face: Face, face_id: Image, face_id_face: Face) -> Image:
    """``template`` with the face of the ``face_id`` picture laid over its own by the five points of both. What is laid
    over is half as large again as the face's box."""
    height, width = face_id.shape[:2]
    x, y = face_id_face.center
    half_width, half_height = face_id_face.width * FACE_ID_RATIO / 2, face_id_face.height * FACE_ID_RATIO / 2
    box = geometry.box_crop((x - half_width, y - half_height, x + half_width, y + half_height), (height, width))
    mask = masks.empty((height, width))
    mask[box.top : box.bottom, box.left : box.right] = 1.0
    return geometry.paste_similar(template, face.points, face_id, face_id_face.points, mask)


def first_mask(parts: FaceParts, face_width: float, reach: MaskReach = ORIGINAL) -> Mask:
    """The parsed face, without holes and a little larger."""
    return masks.dilate(masks.close_holes(parts.face), reach.growth * face_width)


def second_mask(parts: FaceParts, face_width: float, reach: MaskReach = ORIGINAL) -> Mask:
    """A ring along the outline of the face, together with the eyes and the lips."""
    outline = masks.ring(masks.close_holes(parts.face), reach.ring_inner * face_width, reach.ring_outer * face_width)
    return masks.union(outline, _hard(parts.eyes), _hard(parts.lips))


def inner_parts(parts: FaceParts, points: Points) -> FaceParts:
    """The parts of a face whose 68 points are guesses: what lies between brows, nose and mouth. The outline that is
    guessed for a head in profile runs through its hair and behind its ear."""
    size = parts.face.shape[0], parts.face.shape[1]
    inner = masks.hull(size, landmarks.grown(points[17:], INNER_GROWTH))
    return replace(parts, face=masks.intersection(parts.face, inner), skin=masks.intersection(parts.skin, inner))


def shape_mask(parts: FaceParts, face_width: float, reach: MaskReach = ORIGINAL) -> Mask:
    """The part that is kept of a first pass without a mask: the face, with soft edges."""
    return masks.feather(first_mask(parts, face_width, reach), SHIFT_FEATHER * face_width)


# --- colours ---------------------------------------------------------------------------------------------------------


def shift_colours(
    image: Image, parts: FaceParts, template: Image, template_parts: FaceParts, width: float, *, lips: bool
) -> Image:
    """``image`` with its face in the colours of the template's face. The lips keep their own where ``lips`` is
    False."""
    region = parts.face if lips else masks.without(parts.face, parts.lips)
    reference = template_parts.face if lips else masks.without(template_parts.face, template_parts.lips)
    feather = masks.feather(region, SHIFT_FEATHER * width)
    if not region.any() or not reference.any():
        return image.copy()
    # Only the part around the face is computed: most of the picture doesn't change.
    here, there = masks.extent(feather), masks.extent(reference)
    result = image.copy()
    result[here] = colour.shift(
        image[here], region[here], template[there], reference[there], feather=feather[here], contrast=MOST_CONTRAST
    )
    return result


def tint_lips(image: Image, parts: FaceParts, template: Image, template_parts: FaceParts, width: float) -> Image:
    """``image`` with its lips in the colours of the template's lips."""
    feather = masks.feather(parts.lips, BLEND_FEATHER * width)
    return colour.shift(image, parts.lips, template, template_parts.lips, feather=feather, contrast=MOST_CONTRAST)


# --- fine detail -----------------------------------------------------------------------------------------------------


def crisper(image: Image, fused: Image, share: Mask, face_width: float) -> Image:
    """``image`` with the fine detail of ``fused`` where that is stronger, as far as ``share`` says."""
    size, within = FINE
    own, given = _fine(image, size * face_width), _fine(fused, size * face_width)
    strength = [masks.blurred(np.abs(fine).mean(axis=2), within * face_width) for fine in (own, given)]
    weaker = np.clip(1.5 - 1.5 * strength[0] / np.maximum(strength[1], 1e-3), 0.0, 1.0) * share
    return np.asarray(np.rint(np.clip(image + (given - own) * weaker[..., None], 0, 255)), np.uint8)


def lost(picture: Image, size: Size) -> Detail:
    """What ``picture`` loses when it is worked on at ``size`` and enlarged again."""
    own = picture.shape[0], picture.shape[1]
    return np.asarray(picture.astype(np.float32) - geometry.resize(geometry.resize(picture, size), own), np.float32)


def _fine(image: Image, sigma: float) -> Detail:
    values = image.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


# --- back into the picture -------------------------------------------------------------------------------------------


def paste_mask(changed: Mask, face_width: float, crop: Crop, size: Size, reach: MaskReach = ORIGINAL) -> Mask:
    """How much of the result is laid over the picture of ``size``: a little more than what the passes repainted, with
    soft edges, and exactly 0 further out and along the borders of the crop that lie inside the picture."""
    grown = masks.dilate(changed, (reach.paste + reach.paste_edge) * face_width)
    return masks.feather_inside(_clear_inner_border(grown, crop, size), reach.paste_edge * face_width)


def crop_mask(crop: Crop, size: Size, share: float = 0.1) -> Mask:
    """The whole crop, with soft edges where its border lies inside the picture. An edge takes ``share`` of the shorter
    side."""
    whole = np.ones(crop.size, np.float32)
    return masks.feather_inside(_clear_inner_border(whole, crop, size), share * min(crop.size))


def allowed(crop: Crop, own: Sequence[Face], others: Sequence[Face]) -> Mask:
    """A mask of the crop's size that is 1 where the portraits of the faces ``own`` may change the picture and 0 in the
    regions of the other faces, with a soft slope between. Where two regions overlap, a pixel belongs to the nearer
    face. The faces are given as they lie in the whole picture."""
    free = np.ones(crop.size, bool)
    regions = [_region(geometry.in_crop(face, crop), crop.size, 1.0) for face in own]
    for other in others:
        inside, distance = _region(geometry.in_crop(other, crop), crop.size, OTHERS_MARGIN)
        for own_inside, own_distance in regions:
            inside &= ~(own_inside & (own_distance < distance))
        free &= ~inside
    if free.all() or not own:
        return free.astype(np.float32)
    return masks.feather_inside(
        free.astype(np.float32), max(2.0, ORIGINAL.paste_edge * min(face.width for face in own))
    )


def paste_back(
    picture: Image, patch: Image, crop: Crop, mask: Mask, permitted: Mask, detail: Detail | None = None
) -> Image:
    """``picture`` with ``patch`` laid over its part ``crop``, through ``mask`` (of the patch's size) and ``permitted``
    (of the crop's size). ``detail`` (of the crop's size) is added to the patch once it has that size.

    No bit changes outside the crop or where either mask is 0.
    """
    area = slice(crop.top, crop.bottom), slice(crop.left, crop.right)
    alpha = geometry.resize_mask(mask, crop.size) * permitted
    result = picture.copy()
    if alpha.any():
        # Only the rectangle that changes is blended: what is pasted is a part of its crop.
        near = masks.extent(alpha)
        laid = geometry.resize(patch, crop.size)[near]
        if detail is not None:
            laid = np.asarray(np.rint(np.clip(laid + detail[near], 0, 255)), np.uint8)
        result[area][near] = geometry.blend(picture[area][near], laid, alpha[near])
    return result


# --- background ------------------------------------------------------------------------------------------------------


def outside_mask(size: Size, faces: Sequence[Face]) -> Mask:
    """Everything except the faces; the mask reaches a little into each face."""
    boxes = [_inner_box(face, size, SEAM_INNER) for face in faces]
    return masks.without(np.ones(size, np.float32), *boxes)


def seams_mask(size: Size, faces: Sequence[Face]) -> Mask:
    """A band around the box of each face."""
    bands = [_inner_box(face, size, -SEAM_OUTER) - _inner_box(face, size, SEAM_INNER) for face in faces]
    return masks.union(masks.empty(size), *bands)


def whole_mask(mask: Mask, crop: Crop, size: Size) -> Mask:
    """The ``mask`` of a crop, which may have any size, laid into the whole picture of ``size``. It is 0 outside the
    crop."""
    whole = masks.empty(size)
    whole[crop.top : crop.bottom, crop.left : crop.right] = geometry.resize_mask(mask, crop.size)
    return whole


def seams_only(laid: Mask, face_width: float) -> Mask:
    """A mask that is 1 along the edge of what was ``laid`` into a picture and falls off softly to both sides. Where
    nothing was laid there is no seam, and a pass that repainted there would only leave a patch."""
    edge = masks.ring((laid > 0.02).astype(np.float32), SEAM_INNER * face_width, SEAM_INNER * face_width)
    return masks.feather(edge, SEAM_INNER / 2 * face_width)


def in_tone(painted: Image, under: Image, mask: Mask, sigma: float) -> Image:
    """``painted`` with the light and the colour that ``under`` has within ``sigma`` pixels, where ``mask`` is set. A
    network gives even what it should keep back a little lighter or darker, and that shows as a patch."""
    weight = cv2.GaussianBlur(mask, (0, 0), sigma)[..., None] + np.float32(1e-4)
    difference = (under.astype(np.float32) - painted) * mask[..., None]
    slow = cv2.GaussianBlur(difference, (0, 0), sigma) / weight
    return np.asarray(np.rint(np.clip(painted + slow, 0, 255)), np.uint8)


def around(faces: Sequence[Face], size: Size) -> Crop:
    """The smallest rectangle that holds all ``faces`` and half a face of room on each side."""
    margin = max(max(face.width, face.height) for face in faces) / 2
    box = (
        min(f.box[0] for f in faces) - margin,
        min(f.box[1] for f in faces) - margin,
        max(f.box[2] for f in faces) + margin,
        max(f.box[3] for f in faces) + margin,
    )
    return geometry.box_crop(box, size)


def scaled(face: Face, factor: float) -> Face:
    """``face`` as it lies in a picture that is ``factor`` times as large."""
    if factor == 1:
        return face
    return geometry.move_face(face, np.array([[factor, 0.0, 0.0], [0.0, factor, 0.0]]))


def grown(face: Face, ratio: float) -> Face:
    """``face`` with a box that is ``ratio`` times as large, around the same centre."""
    x, y = face.center
    w, h = face.width * ratio / 2, face.height * ratio / 2
    return replace(face, box=(x - w, y - h, x + w, y + h))


def _clear_inner_border(mask: Mask, crop: Crop, size: Size) -> Mask:
    cleared = mask.copy()
    cleared[: int(crop.top > 0)] = 0
    cleared[mask.shape[0] - int(crop.bottom < size[0]) :] = 0
    cleared[:, : int(crop.left > 0)] = 0
    cleared[:, mask.shape[1] - int(crop.right < size[1]) :] = 0
    return cleared


def _inner_box(face: Face, size: Size, inset: float) -> Mask:
    mask = masks.empty(size)
    crop = geometry.box_crop(grown(face, 1 - 2 * inset).box, size)
    mask[crop.top : crop.bottom, crop.left : crop.right] = 1.0
    return mask


def _region(face: Face, size: Size, ratio: float) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which pixels lie in the box of the face and its landmarks, made ``ratio`` times as large, and how far each pixel
    is from the centre of the face, in halves of its sides."""
    left, top, right, bottom = face.box
    if face.landmarks is not None:
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        left, top = min(left, float(low[0])), min(top, float(low[1]))
        right, bottom = max(right, float(high[0])), max(bottom, float(high[1]))
    rows, columns = np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)[None]
    dx = np.abs(columns - (left + right) / 2) / max((right - left) / 2, 1)
    dy = np.abs(rows - (top + bottom) / 2) / max((bottom - top) / 2, 1)
    return np.maximum(dx, dy) <= ratio, np.hypot(dx, dy).astype(np.float32)


def _hard(mask: Mask) -> Mask:
    return (mask > 0.5).astype(np.float32)
