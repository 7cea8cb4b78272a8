"""Random frames of a portrait, as the pictures that are to be made frame a face: far and near, square and upright.

Every frame is cut from a source (see pack.py) and brought to its size; nothing is enlarged by more than a sixth, since
a network that learns from enlarged pictures draws soft ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from benchkit import Image, Points, View
from numpy.typing import NDArray

Size = tuple[int, int]
SIZES: dict[Size, float] = {(256, 256): 0.6, (256, 352): 0.2, (320, 320): 0.2}
"""Width and height of the frames in pixels, and the share of each among all."""
NEAREST, ENLARGED = 0.62, 0.86
"""The widest that a face may be, in widths of the frame, and the narrowest cut, in its widths."""
UNKNOWN = 0.85
"""How much of the width a cut keeps at least where no face was found, so that it isn't cut off."""
TILTED, TILT = 0.2, 8.0
"""The share of frames that are turned a little, and by how many degrees at most."""
SMOOTH, HIGHER = 6.0, 0.4
"""Below which mean difference of neighbours (0-255) the top of a portrait counts as plain, so that more of it can be
added, and how much more of the height."""

_JAW_TO_NOSE = (*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1))
_EYES = (45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40)
_MOUTH = (54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65)
MIRROR = np.array(_JAW_TO_NOSE + _EYES + _MOUTH)
"""Number of the landmark that takes each one's place when the picture is mirrored."""


@dataclass(frozen=True)
class Frame:
    """A picture (h, w, 3), the 68 landmarks in its pixels where a face was found, and whether it is mirrored."""

    picture: Image
    points: Points | None
    mirrored: bool


def mirrored(picture: Image, points: Points | None) -> tuple[Image, Points | None]:
    """Picture and landmarks, left and right exchanged."""
    flipped = np.ascontiguousarray(picture[:, ::-1])
    if points is None:
        return flipped, None
    turned = points[MIRROR].copy()
    turned[:, 0] = picture.shape[1] - 1 - turned[:, 0]
    return flipped, turned


def middle(picture: Image, view: View, size: Size, share: float = 0.45) -> Frame:
    """The frame with the face in its middle, `share` of its width where the source has room for that."""
    points = None if view.landmarks is None else np.array(view.landmarks, np.float32)
    box = (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0])) if view.face is None else tuple(view.face)
    side = (box[2] - box[0]) / (1.0 if view.face is None else share)
    width, height = _fitting(picture, size, side)
    left = (box[0] + box[2]) / 2 - width / 2
    top = (box[1] + box[3]) / 2 - 0.1 * (box[3] - box[1]) - height / 2
    return Frame(*_cut(picture, points, (left, top, width, height), size), mirrored=False)


def random(picture: Image, view: View, size: Size, rng: np.random.Generator) -> Frame:
    """A frame whose face is somewhere in it, near or far, half of them mirrored, a few turned, colours a bit other."""
    points = None if view.landmarks is None else np.array(view.landmarks, np.float32)
    box = None if view.face is None else np.array(view.face, np.float32)
    if size[1] > size[0] and rng.random() < 0.6:
        picture, points, box = _higher(picture, points, box, rng)
    if box is not None and rng.random() < TILTED:
        picture, points = _tilted(picture, points, box, float(rng.uniform(-TILT, TILT)))
    rectangle = _somewhere(picture, box, size, rng)
    cut, moved = _cut(picture, points, rectangle, size)
    cut = _coloured(cut, rng)
    turn = bool(rng.random() < 0.5)
    if turn:
        cut, moved = mirrored(cut, moved)
    return Frame(cut, moved, turn)


def _fitting(picture: Image, size: Size, width: float) -> tuple[float, float]:
    """Width and height of a cut with the proportions of `size`: as wide as asked for, if the picture has that."""
    ratio = size[1] / size[0]
    largest = min(picture.shape[1], picture.shape[0] / ratio)
    width = min(largest, max(width, ENLARGED * size[0]))
    return width, width * ratio


def _somewhere(
    picture: Image, box: NDArray[np.float32] | None, size: Size, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Left, top, width and height of a random cut that holds the face with hair and chin, where it can."""
    tall, wide = picture.shape[:2]
    largest, _ = _fitting(picture, size, float("inf"))
    smallest, _ = _fitting(picture, size, UNKNOWN * wide if box is None else float(box[2] - box[0]) / NEAREST)
    width, height = _fitting(picture, size, float(np.exp(rng.uniform(np.log(smallest), np.log(largest)))))
    x, y = (0.0, max(0.0, wide - width)), (0.0, max(0.0, tall - height) * (1.0 if box is not None else 0.3))
    if box is not None:
        face = float(box[2] - box[0])
        x = _held(x, float(box[2]) + 0.15 * face - width, float(box[0]) - 0.15 * face)
        y = _held(y, float(box[3]) + 0.2 * face - height, float(box[1]) - 0.45 * face)
    return float(rng.uniform(*x)), float(rng.uniform(*y)), width, height


def _held(room: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The part of `room` between `low` and `high`, or the place in it that is nearest to them."""
    first, last = max(room[0], low), min(room[1], high)
    if first <= last:
        return first, last
    place = min(max(room[0], (low + high) / 2), room[1])
    return place, place


def _cut(
    picture: Image, points: Points | None, rectangle: tuple[float, float, float, float], size: Size
) -> tuple[Image, Points | None]:
    """The rectangle (left, top, width, height) of the picture at `size`, moved inside, and the landmarks in it."""
    width, height = round(rectangle[2]), round(rectangle[3])
    x = round(min(max(0.0, rectangle[0]), picture.shape[1] - width))
    y = round(min(max(0.0, rectangle[1]), picture.shape[0] - height))
    how = cv2.INTER_AREA if width >= size[0] else cv2.INTER_CUBIC
    cut = cv2.resize(picture[y : y + height, x : x + width], size, interpolation=how)
    scale = np.array([size[0] / width, size[1] / height], np.float32)
    return cast(Image, cut), None if points is None else ((points - (x, y)) * scale).astype(np.float32)


def _tilted(
    picture: Image, points: Points | None, box: NDArray[np.float32], degrees: float
) -> tuple[Image, Points | None]:
    """The picture turned about the middle of the face; what comes in at the edges is mirrored."""
    centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    size = (picture.shape[1], picture.shape[0])
    turned = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    if points is not None:
        points = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return cast(Image, turned), points


def _higher(
    picture: Image, points: Points | None, box: NDArray[np.float32] | None, rng: np.random.Generator
) -> tuple[Image, Points | None, NDArray[np.float32] | None]:
    """More background above the head, mirrored, where the top is plain: room for small faces in upright frames."""
    rows = picture[: max(8, picture.shape[0] // 12)].astype(np.float32)
    if max(np.abs(np.diff(rows, axis=0)).mean(), np.abs(np.diff(rows, axis=1)).mean()) > SMOOTH:
        return picture, points, box
    free = picture.shape[0] if box is None else max(0.0, float(box[1] - 0.6 * (box[3] - box[1])))
    more = round(min(free, HIGHER * picture.shape[0]) * rng.random())
    if more < 8:
        return picture, points, box
    taller = cv2.copyMakeBorder(picture, more, 0, 0, 0, cv2.BORDER_REFLECT_101)
    shift = np.array([0, more], np.float32)
    return (
        cast(Image, taller),
        None if points is None else points + shift,
        None if box is None else box + np.tile(shift, 2),
    )


def _coloured(picture: Image, rng: np.random.Generator) -> Image:
    """Up to 7% brighter, darker, harder or softer, and up to 15% more or less coloured."""
    colour, contrast, light = rng.uniform(0.85, 1.15), rng.uniform(0.94, 1.06), rng.uniform(0.93, 1.07)
    mixed = colour * np.eye(3) + (1 - colour) / 3
    offset = np.full((3, 1), (1 - contrast) * float(cv2.mean(picture)[1]))
    return cast(Image, cv2.transform(picture, np.hstack([contrast * mixed, offset]) * light))
