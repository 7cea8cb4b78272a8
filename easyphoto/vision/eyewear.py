"""Glasses: whether a face wears them, and where their arms run from its outline to the ears.

Whether one photo shows glasses is told by the shapes of the edges around both eyes: a histogram of oriented gradients
(Dalal and Triggs, 2005) and one weight for each of its numbers. ``tools/train_eyewear.py`` found the weights.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image, Mask, Points
from easyphoto.vision import geometry, landmarks, masks

WIDTH, HEIGHT = 128, 112
_EYES = np.array([[32, 48], [96, 48]], np.float32)
"""Where the eyes lie in the small picture that is looked at."""
_BRIDGE = (slice(34, 62), slice(57, 71))
_AROUND = slice(30, 100)

SHAPES = (64, 96)
"""The size (height, width) of the picture whose edges tell of glasses."""
_SHAPES_EYES = np.array([[26, 26], [70, 26]], np.float32)

APART = 96
"""How far apart, in pixels, the eyes are in the picture in which arms are looked for. The other lengths of an arm are
those of this picture."""
_ARM_SIZE = (224, 320)
_ARM_EYES = np.array([[112, 96], [208, 96]], np.float32)
_INSIDE, _REACH, _ABOVE, _BELOW = 16, 44, 30, 26
"""An arm begins so far inside the outline, and is followed so far from there outwards, between so much above and so
much below the eye."""
EDGE = 0.02
"""How far the edge of an arm is soft, in distances of the outer corners of the eyes."""
FILL_REACH = 5.0
"""Arms are filled in from within so many pixels, in a picture that is shrunk for it where that is less far."""
_STRONG, _SHORTEST = 7.0, 12
"""An arm is darker or lighter than what lies above and below it by so much (L of LAB) on average, and at least so
long."""
_THIN, _WIDE, _THICKEST, _RIM = 4, 13, 19, 14
"""How thick an arm is, how far a hinge reaches from its middle, how thick that is at most, and how far from the outline
a rim may end."""


def bridge_edge(image: Image, face: Face) -> float:
    """How strong the strongest edge is that runs across the bridge of the nose, where glasses have theirs, against the
    contrast of the whole face. Faces without glasses have 1.1 in the median and faces with glasses 2.9, but one face
    of 20 without has 2.6."""
    matrix = geometry.similarity(face.points[:2], _EYES)
    small = geometry.warp(image, matrix, (HEIGHT, WIDTH), interpolation=cv2.INTER_LINEAR)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    edges = np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return float(edges[_BRIDGE].mean(1).max() / max(1.0, float(grey[_AROUND].std())))


def worn(image: Image, points: Points) -> bool:
    """Whether the face that has these 68 points wears glasses or sunglasses."""
    weights, bias = _weights()
    return float(np.mean([shapes(image, points, mirrored=m) @ weights for m in (False, True)])) + bias > 0


def shapes(image: Image, points: Points, *, mirrored: bool = False) -> NDArray[np.float32]:
    """The histogram of oriented gradients around the eyes of a face that has these 68 points."""
    matrix = geometry.similarity(landmarks.five(points)[:2], _SHAPES_EYES)
    small = geometry.warp(image, matrix, SHAPES, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    height, width = SHAPES
    describer = cv2.HOGDescriptor((width, height), (16, 16), (8, 8), (8, 8), 9)
    return np.asarray(describer.compute(np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey), np.float32).ravel()


def lenses(size: tuple[int, int], points: Points) -> Mask:
    """Where the rims and lenses of glasses lie on a face: both eyes and brows with what is below them."""
    down = (points[33] - points[27]) * 0.45
    eyes = np.concatenate([points[landmarks.LEFT_EYE], points[landmarks.RIGHT_EYE]])
    return masks.hull(size, landmarks.grown(np.concatenate([points[17:27], eyes + down]), 1.12))


def arms(image: Image, points: Points, *, hinges: bool = True) -> Mask:
    """1 where the arms of glasses run beside the face that has these 68 points, and their ``hinges`` with whatever
    touches them. Ask :func:`worn` before: a strand of hair looks like an arm. The edges are soft over a pixel or
    two."""
    matrix = geometry.similarity(landmarks.five(points)[:2], _ARM_EYES)
    near, moved = (
        geometry.warp(image, matrix, _ARM_SIZE, interpolation=cv2.INTER_LINEAR),
        geometry.transform(matrix, points),
    )
    light = cv2.cvtColor(near.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]
    light = cv2.GaussianBlur(light, (0, 0), 1.0)
    lines = _apart(light, cv2.getStructuringElement(cv2.MORPH_RECT, (1, _THICKEST)))
    thin = _apart(light, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_THICKEST, _THICKEST))) > _STRONG
    found = masks.empty(_ARM_SIZE)
    dark = cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, cv2.getStructuringElement(cv2.MORPH_RECT, (1, _THICKEST)))
    for outline, eye, way in ((moved[0], moved[36], -1), (moved[16], moved[45], 1)):
        path = _followed(lines, outline, eye, way)
        if path is not None:
            line = cv2.polylines(masks.empty(_ARM_SIZE), [path[:, None]], False, 1.0, thickness=_THIN)
            if not hinges:
                # Only what is darker than what lies around it: beside an arm a photo shows another ground.
                found = masks.union(found, line * np.clip(dark / _STRONG, 0, 1))
                continue
            close = masks.dilate(line, _WIDE) > 0.5
            close[:, : min(path[:, 0])] = close[:, max(path[:, 0]) + 1 :] = False
            _, labels = cv2.connectedComponents((thin & close | (line > 0.5)).astype(np.uint8), connectivity=8)
            found[labels == labels[path[0][1], path[0][0]]] = 1.0
        if hinges:
            found[thin & (_beside(moved, way) > 0.5)] = 1.0
    back = cv2.invertAffineTransform(np.asarray(matrix, np.float64))
    laid = cv2.warpAffine(found, back, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR)
    return np.asarray(np.clip(laid, 0, 1), np.float32)


def _beside(points: Points, way: int) -> Mask:
    """The strip along one side of the outline, from the brow to below the eye, in which rims end."""
    outline, brow, eye = (
        (points[:3], points[17], points[36]) if way < 0 else (points[[16, 15, 14]], points[26], points[45])
    )
    top, bottom = float(brow[1]) - _RIM, float(eye[1]) + 2 * _RIM
    line = np.stack([[outline[0, 0], top], *outline]).astype(np.float32)
    strip = cv2.polylines(
        masks.empty(_ARM_SIZE), [np.rint(line).astype(np.int32)[:, None]], False, 1.0, thickness=2 * _RIM
    )
    strip[: max(0, round(top))] = strip[max(0, round(bottom)) :] = 0.0
    return np.asarray(strip, np.float32)


def without_arms(image: Image, points: Points) -> tuple[Image, Mask]:
    """The picture with the arms of the glasses filled in by what lies around them (Telea, 2004), and where."""
    where = arms(image, points)
    if not (where > 0.02).any():
        return image, where
    apart = float(np.hypot(*(points[45] - points[36])))
    hard, reach = (where > 0.02).astype(np.float32), 2 * EDGE * apart
    near = masks.extent(hard, math.ceil(4 * reach) + 2)
    hard[near] = masks.dilate(hard[near], EDGE * apart)
    bare = image.copy()
    bare[near] = _filled(image[near], hard[near], reach)
    return bare, hard


def _filled(image: Image, hole: Mask, reach: float) -> Image:
    """``image`` with the ``hole`` filled in from within ``reach`` pixels. What is filled in is smooth, so it is made on
    a smaller picture where the reach is long: the time grows with its square."""
    size = image.shape[0], image.shape[1]
    small = geometry.limit_long_side(size, max(1, round(max(size) * FILL_REACH / max(reach, FILL_REACH))))
    marked = (geometry.resize_mask(hole, small) > 0).astype(np.uint8)
    filled = cv2.inpaint(geometry.resize(image, small), marked, max(2.0, reach * small[0] / size[0]), cv2.INPAINT_TELEA)
    return geometry.blend(image, geometry.resize(np.asarray(filled, np.uint8), size), hole)


def _apart(light: NDArray[np.float32], shape: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much darker or lighter each pixel is than what lies around it, as far as ``shape`` reaches."""
    dark, bright = (cv2.morphologyEx(light, kind, shape) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    return np.asarray(np.maximum(dark, bright), np.float32)


def _followed(lines: NDArray[np.float32], outline: Points, eye: Points, way: int) -> NDArray[np.int32] | None:
    """The strongest line (n, 2) that runs outwards from the ``outline`` at the height of the ``eye``, as long as it is
    strong; None where there is none."""
    height, width = lines.shape
    start = round(float(outline[0])) - way * _INSIDE
    columns = [x for x in range(start, start + way * _REACH, way) if 0 <= x < width]
    top, bottom = max(0, round(float(eye[1])) - _ABOVE), min(height, round(float(eye[1])) + _BELOW)
    if len(columns) < _SHORTEST or bottom - top < 4:
        return None
    # What is gained along a path over a threshold: the best path ends where the line fades.
    gain = np.minimum(lines[top:bottom, columns], 3 * _STRONG) - _STRONG
    total, back = gain.copy(), np.zeros(gain.shape, np.int64)
    rows = np.arange(bottom - top)
    for column in range(1, len(columns)):
        last = np.pad(total[:, column - 1], 2, constant_values=-np.inf)
        reached = np.stack([last[2 + step : 2 + step + len(rows)] - abs(step) for step in (-2, -1, 0, 1, 2)])
        back[:, column] = np.clip(rows + reached.argmax(0) - 2, 0, len(rows) - 1)
        total[:, column] = gain[:, column] + reached.max(0)
    end = int(total.max(0).argmax())
    if end + 1 < _SHORTEST or float(total[:, end].max()) < 0.5 * _STRONG * (end + 1):
        return None
    path, row = [], int(total[:, end].argmax())
    for column in range(end, -1, -1):
        path.append((columns[column], top + row))
        row = int(back[row, column])
    return np.array(path, np.int32)


@cache
def _weights() -> tuple[NDArray[np.float32], float]:
    text = resources.files("easyphoto.vision").joinpath("eyewear.json").read_text("utf-8")
    found = json.loads(text)
    return np.asarray(np.array(found["weights"]) / 1000, np.float32), float(found["bias"])
