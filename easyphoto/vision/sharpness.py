"""How sharp a face is, in a number that can be compared between photos of any resolution."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Face, Image
from easyphoto.vision import geometry

SIDE = 160
PLAIN = 25.0
"""A face whose luminance spreads less than this (standard deviation, 0-255) has so little contrast that its sharpness
is computed as if it had this much."""
FAINT = 4.0
"""Contrast below this is mostly noise, and is taken to be this much."""


def sharpness(image: Image, face: Face | None = None) -> float:
    """The variance of the Laplacian of the luminance (0-255) of the face, or of the whole picture where there is none.

    The region is brought to 160 pixels on its longer side first, so that a large photo isn't judged by the noise of its
    pixels. A region that has to be enlarged is judged with the blur that this gives it. A dark or hazy region is judged
    as if it had the contrast of a dull one in good light.
    """
    part = _region(image, face)
    height, width = part.shape[:2]
    scale = SIDE / max(height, width)
    sized = geometry.resize(part, (max(1, round(height * scale)), max(1, round(width * scale))))
    grey = cv2.cvtColor(sized, cv2.COLOR_RGB2GRAY)
    gain = max(1.0, PLAIN / max(FAINT, float(grey.std())))
    return float(cv2.Laplacian(grey, cv2.CV_64F).var()) * gain**2


def brightness(image: Image, face: Face | None = None) -> float:
    """The luminance (0-255) of the bright parts of the face, or of the whole picture: the 90th percentile."""
    grey = cv2.cvtColor(_region(image, face), cv2.COLOR_RGB2GRAY)
    return float(np.percentile(grey, 90))


def _region(image: Image, face: Face | None) -> Image:
    return image if face is None else geometry.cut(image, geometry.box_crop(face.box, (image.shape[0], image.shape[1])))
