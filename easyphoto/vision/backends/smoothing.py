"""Skin is retouched by smoothing what is coarser than pores, while edges are kept."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Face, Image
from easyphoto.vision import geometry, masks
from easyphoto.vision.backend import Context

WORK_WIDTH = 240
"""The width of the face, in pixels, at which its skin is smoothed. Finer detail, such as pores, is added back
unchanged."""
SIGMA_COLOUR = 28.0
SIGMA_SPACE = 6.0
STRENGTH = 0.75


class SkinSmoother:
    """Filters the skin of each face with a bilateral filter. Eyes, brows, lips and all that is no skin keep every
    bit."""

    name = "smoothing"

    def __init__(self, context: Context) -> None:
        self._vision = context.vision

    def retouch(self, image: Image) -> Image:
        """``image`` with the skin of every face smoothed, in the same shape."""
        for face in self._vision.detector.detect(image):
            image = self._face(image, face)
        return image.copy()

    def _face(self, image: Image, face: Face) -> Image:
        size = image.shape[0], image.shape[1]
        crop = geometry.face_crop(face, 2.0, size)
        part = geometry.cut(image, crop)
        skin = self._vision.parser.parse(part, geometry.in_crop(face, crop)).skin
        scale = min(1.0, WORK_WIDTH / max(1.0, face.width))
        laid = masks.feather_inside(skin, max(1.5, 0.03 * face.width)) * np.float32(STRENGTH)
        change = _smoothing(part, (max(1, round(crop.height * scale)), max(1, round(crop.width * scale))))
        smoothed = np.clip(np.rint(part + change * laid[..., None]), 0, 255)
        patch = np.where(laid[..., None] > 0, smoothed, part).astype(np.uint8)
        return geometry.paste(image, patch, crop)


def _smoothing(image: Image, size: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What the filter adds to each pixel of ``image``, computed at ``size``."""
    small = geometry.resize(image, size)
    change = cv2.bilateralFilter(small, 0, SIGMA_COLOUR, SIGMA_SPACE).astype(np.float32) - small
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
