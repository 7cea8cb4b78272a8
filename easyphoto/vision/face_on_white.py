"""The face of a picture by itself, as adapters were taught to see faces: upright, on white, without hair."""

from __future__ import annotations

import math

import cv2
import numpy as np

from easyphoto.ports import Face, FaceParts, Image, Mask, Vision
from easyphoto.vision import geometry, largest

WHITE = 255
SHOWN = 0.5
"""From which value of its mask a pixel is shown."""


def largest_on_white(image: Image, vision: Vision) -> Image:
    """:func:`face_on_white` of the largest face that ``vision`` finds, or the picture itself where it finds none."""
    face = largest(vision.detector.detect(image))
    return image if face is None else face_on_white(image, face, vision.parser.parse(image, face))


def face_on_white(image: Image, face: Face, parts: FaceParts) -> Image:
    """A white square, with the skin and the features of ``face`` in its middle. The face is turned upright, and what is
    above its brows is left white. ``parts`` are the masks of the face in ``image``.

    Where the masks show nothing, it is the square around the face as it is.
    """
    matrix = _upright(face)
    size = image.shape[0], image.shape[1]
    turned = geometry.warp(image, matrix, size)
    shown = _turned(np.maximum.reduce([parts.skin, parts.eyes, parts.brows, parts.nose, parts.lips]), matrix) >= SHOWN
    brows = np.flatnonzero((_turned(parts.brows, matrix) >= SHOWN).any(1))
    if len(brows):
        shown[: brows[0]] = False
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    if not len(rows):
        return geometry.cut(image, geometry.face_crop(face, 1.0, size))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return _squared(np.where(shown[..., None], turned, WHITE).astype(np.uint8)[box])


def _upright(face: Face) -> geometry.Matrix:
    """The turn about the middle of the face that brings its eyes to one height."""
    across = face.points[1] - face.points[0]
    degrees = math.degrees(math.atan2(float(across[1]), float(across[0])))
    matrix: geometry.Matrix = cv2.getRotationMatrix2D(face.center, degrees, 1.0)
    return matrix


def _turned(mask: Mask, matrix: geometry.Matrix) -> Mask:
    turned: Mask = cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=cv2.INTER_LINEAR)
    return turned


def _squared(picture: Image) -> Image:
    """The picture in the middle of the smallest white square that holds it."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), WHITE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
