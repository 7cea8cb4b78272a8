"""How sharp a face is, comparable between photos of any resolution."""

from __future__ import annotations

import cv2

from easyphoto.ports import Face, Image
from easyphoto.vision import geometry

SIDE = 160


def sharpness(image: Image, face: Face | None = None) -> float:
    """Variance of the Laplacian of the luminance (0-255) of the face, or of the whole picture without one.

    The region is brought to 160 pixels on its longer side first, so that a large photo isn't judged by its pixels' own
    noise; a region that had to be enlarged is judged as blurred as that makes it.
    """
    part = image if face is None else geometry.cut(image, geometry.box_crop(face.box, (image.shape[0], image.shape[1])))
    height, width = part.shape[:2]
    scale = SIDE / max(height, width)
    sized = geometry.resize(part, (max(1, round(height * scale)), max(1, round(width * scale))))
    grey = cv2.cvtColor(sized, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
