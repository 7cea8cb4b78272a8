"""Similarity transforms, crops around faces, resizing and pasting back. Pure functions on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image, Mask, Points
from easyphoto.vision import masks

Matrix: TypeAlias = NDArray[np.float64]
"""An affine transform as OpenCV takes it: a matrix of shape (2, 3)."""
Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""
Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""

SHRINKS = math.sqrt(0.5)
"""A transform that shrinks below this scale averages areas."""


# --- similarity ------------------------------------------------------------------------------------------------------


def similarity(source: Points, target: Points) -> Matrix:
    """The rotation, scale and shift that bring ``source`` nearest to ``target`` in the least-squares sense.

    Both have the shape (n, 2), n >= 2. The result is never a reflection, and points that all coincide give a pure
    shift. The method is that of Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2 or len(a) < 2:
        raise ValueError(f"two sets of the same 2 or more points are needed, not {a.shape} and {b.shape}")
    mean_a, mean_b = a.mean(0), b.mean(0)
    spread = ((a - mean_a) ** 2).sum() / len(a)
    if spread < 1e-12:
        return np.column_stack([np.eye(2), mean_b - mean_a])
    covariance = (b - mean_b).T @ (a - mean_a) / len(a)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.diag([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) >= 0 else -1.0])
    rotation = u @ sign @ vt
    scale = float((d * np.diag(sign)).sum() / spread)
    linear = scale * rotation
    return np.column_stack([linear, mean_b - linear @ mean_a])


def transform(matrix: Matrix, points: Points) -> Points:
    """``points`` (n, 2) moved by ``matrix``."""
    moved: Points = (np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return moved


def invert(matrix: Matrix) -> Matrix:
    """The transform that undoes ``matrix``."""
    inverse: Matrix = np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))[:2]
    return inverse


def warp(
    image: Image,
    matrix: Matrix,
    size: Size,
    *,
    interpolation: int = cv2.INTER_CUBIC,
    border: int = cv2.BORDER_REPLICATE,
) -> Image:
    """``image`` seen through ``matrix`` on a canvas of ``size``. Outside the picture the canvas repeats its border, or
    is 0 where ``border`` is ``cv2.BORDER_CONSTANT``.

    Where the matrix shrinks, areas are averaged first to bring the picture near its new scale. OpenCV's ``warpAffine``
    takes single pixels, whatever interpolation it is asked for, and a large photo would alias.
    """
    height, width = size
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    if scale < SHRINKS:
        interpolation = cv2.INTER_LINEAR
        image, matrix = _reduced(image, matrix, size, scale)
    warped: Image = cv2.warpAffine(image, matrix, (width, height), flags=interpolation, borderMode=border)
    return warped


def _reduced(image: Image, matrix: Matrix, size: Size, scale: float) -> tuple[Image, Matrix]:
    """The part of ``image`` that the canvas shows, shrunk by ``scale``, and the matrix that fits it."""
    inverse = invert(matrix) if scale > 1e-6 else None
    if inverse is None:
        return image, matrix
    left, top, right, bottom = moved_box(inverse, (0.0, 0.0, float(size[1]), float(size[0])))
    margin = 3 / scale
    crop = box_crop((left - margin, top - margin, right + margin, bottom + margin), (image.shape[0], image.shape[1]))
    small = max(1, round(crop.height * scale)), max(1, round(crop.width * scale))
    part = image[crop.top : crop.bottom, crop.left : crop.right]
    reduced = cv2.resize(np.ascontiguousarray(part), small[::-1], interpolation=cv2.INTER_AREA)
    # The centres of pixels lie at whole numbers, so the centre of a pixel here is the centre of several pixels there.
    x, y = crop.width / small[1], crop.height / small[0]
    back = np.array([[x, 0, x / 2 - 0.5 + crop.left], [0, y, y / 2 - 0.5 + crop.top], [0, 0, 1]])
    return np.asarray(reduced, image.dtype), np.vstack([matrix, [0.0, 0.0, 1.0]])[:2] @ back


def paste_similar(target: Image, target_points: Points, source: Image, source_points: Points, mask: Mask) -> Image:
    """``target`` with ``source`` laid over it, so that the five points of the source fall on those of the target.
    ``mask`` (of the source's size) says where, and its softer values blend. Pixels that the moved mask doesn't reach
    stay as they are."""
    size = target.shape[0], target.shape[1]
    matrix = similarity(source_points, target_points)
    alpha = cast(
        Mask,
        warp(cast(Image, mask), matrix, size, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT),
    )
    return blend(target, warp(source, matrix, size), alpha)


def blend(under: Image, over: Image, mask: Mask) -> Image:
    """``over`` where ``mask`` is 1, ``under`` where it is 0, and a mixture between. Where the mask is 0 no bit
    changes."""
    near = masks.extent(mask)  # often a small part of a large picture
    alpha, below = np.clip(mask[near], 0.0, 1.0)[..., None], under[near]
    mixed = below.astype(np.float32) * (1 - alpha) + over[near].astype(np.float32) * alpha
    blended: Image = under.copy()
    blended[near] = np.where(alpha > 0, np.rint(mixed), below)
    return blended


# --- crops -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """A rectangle of whole pixels: columns [left, right), rows [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def size(self) -> Size:
        return self.height, self.width

    def to_local(self, size: Size | None = None) -> Matrix:
        """The transform from the picture into this crop, which is resized to ``size`` where that is given."""
        height, width = size or self.size
        sx, sy = width / self.width, height / self.height
        return np.array([[sx, 0.0, -self.left * sx], [0.0, sy, -self.top * sy]])


def face_crop(face: Face, ratio: float, size: Size) -> Crop:
    """The square around the face whose side is ``ratio`` times the face's longer side. It is moved into the picture of
    ``size``, and clipped where the picture is too small for it. It is never empty."""
    height, width = size
    side = max(1, round(max(face.width, face.height) * ratio))
    x, y = face.center
    left, right = _span(x, side, width)
    top, bottom = _span(y, side, height)
    return Crop(left, top, right, bottom)


def box_crop(box: Box, size: Size) -> Crop:
    """The whole pixels of ``box`` that lie in a picture of ``size``; at least one pixel."""
    height, width = size
    left, right = _clip(math.floor(box[0]), math.ceil(box[2]), width)
    top, bottom = _clip(math.floor(box[1]), math.ceil(box[3]), height)
    return Crop(left, top, right, bottom)


def cut(image: Image, crop: Crop) -> Image:
    """A copy of that part of the picture."""
    return image[crop.top : crop.bottom, crop.left : crop.right].copy()


def cut_padded(image: Image, face: Face, ratio: float) -> tuple[Image, Face]:
    """A square with the face in its middle, whose side is ``ratio`` times the face's longer side, and the face as it
    lies there. Outside the picture the square repeats the picture's border."""
    side = max(1, round(max(face.width, face.height) * ratio))
    x, y = face.center
    matrix = np.array([[1.0, 0.0, side / 2 - x], [0.0, 1.0, side / 2 - y]])
    matrix[:, 2] = np.rint(matrix[:, 2])
    return warp(image, matrix, (side, side)), move_face(face, matrix)


def paste(image: Image, patch: Image, crop: Crop, mask: Mask | None = None) -> Image:
    """A copy of ``image`` with ``patch``, resized to the crop, in place of ``crop``. It is laid on through ``mask`` (of
    the patch's size) where one is given. Outside the crop, and where the mask is 0, no bit changes."""
    pasted = image.copy()
    sized = resize(patch, crop.size)
    if mask is not None:
        sized = blend(cut(image, crop), sized, resize_mask(mask, crop.size))
    pasted[crop.top : crop.bottom, crop.left : crop.right] = sized
    return pasted


def moved_box(matrix: Matrix, box: Box) -> Box:
    """The upright box around ``box`` after it was moved by ``matrix``."""
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    moved = transform(matrix, corners)
    low, high = moved.min(0), moved.max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def move_face(face: Face, matrix: Matrix) -> Face:
    """``face`` as it lies after the picture was moved by ``matrix``."""
    landmarks = None if face.landmarks is None else transform(matrix, face.landmarks)
    points = transform(matrix, face.points)
    return replace(face, box=moved_box(matrix, face.box), points=points, landmarks=landmarks)


def in_crop(face: Face, crop: Crop, size: Size | None = None) -> Face:
    """``face`` in the coordinates of ``crop``, which is resized to ``size`` where that is given."""
    return move_face(face, crop.to_local(size))


# --- sizes -----------------------------------------------------------------------------------------------------------


def fit_short_side(size: Size, short: int, multiple: int) -> Size:
    """A size of the same proportions whose short side is near ``short``. Both sides are multiples of ``multiple``."""
    scale = short / min(size)
    return _to_multiple(size[0] * scale, multiple), _to_multiple(size[1] * scale, multiple)


def fit_area(size: Size, area: int, multiple: int) -> Size:
    """A size of the same proportions with about ``area`` pixels. Both sides are multiples of ``multiple``."""
    scale = math.sqrt(area / (size[0] * size[1]))
    return _to_multiple(size[0] * scale, multiple), _to_multiple(size[1] * scale, multiple)


def limit_long_side(size: Size, longest: int) -> Size:
    """The size, shrunk where a side is longer than ``longest``. It is never enlarged."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def tiles(size: Size, side: int, overlap: int) -> list[Crop]:
    """Squares of ``side`` pixels (fewer where the picture is smaller) that cover a picture of ``size``. They overlap
    such that every square of ``overlap`` pixels lies whole in one of them."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        count = math.ceil((length - overlap) / (side - overlap))
        return [round(i * (length - side) / (count - 1)) for i in range(count)]

    height, width = size
    return [
        Crop(left, top, min(left + side, width), min(top + side, height))
        for top in starts(height)
        for left in starts(width)
    ]


def resize(image: Image, size: Size) -> Image:
    """``image`` at (height, width). Areas are averaged where it shrinks; Lanczos is used where it grows."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image.copy()
    shrinks = height * width < image.shape[0] * image.shape[1]
    resized: Image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4)
    return resized


def resize_mask(mask: Mask, size: Size) -> Mask:
    """``mask`` at (height, width); its values stay in [0, 1]."""
    height, width = size
    shrinks = height * width < mask.shape[0] * mask.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Mask = np.clip(cv2.resize(mask, (width, height), interpolation=interpolation), 0.0, 1.0)
    return resized


def _to_multiple(length: float, multiple: int) -> int:
    return max(multiple, round(length / multiple) * multiple)


def _span(center: float, side: int, limit: int) -> tuple[int, int]:
    if side >= limit:
        return 0, limit
    low = min(max(0, round(center - side / 2)), limit - side)
    return low, low + side


def _clip(low: int, high: int, limit: int) -> tuple[int, int]:
    low = min(max(0, low), limit - 1)
    return low, max(low + 1, min(high, limit))
