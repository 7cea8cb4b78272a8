"""Whether a face wears glasses, as a number that means little for one photo and something for several."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Face, Image
from easyphoto.vision import geometry

WIDTH, HEIGHT = 128, 112
_EYES = np.array([[32, 48], [96, 48]], np.float32)
"""Where the eyes lie in the small picture that is looked at."""
_BRIDGE = (slice(34, 62), slice(57, 71))
_AROUND = slice(30, 100)


def bridge_edge(image: Image, face: Face) -> float:
    """How strong the strongest edge is that runs across the bridge of the nose, where glasses have theirs, against the
    contrast of the whole face. Faces without glasses have 1.1 in the median and faces with glasses 2.9, but one face
    of 20 without has 2.6."""
    matrix = geometry.similarity(face.points[:2], _EYES)
    small = geometry.warp(image, matrix, (HEIGHT, WIDTH), interpolation=cv2.INTER_LINEAR)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    edges = np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return float(edges[_BRIDGE].mean(1).max() / max(1.0, float(grey[_AROUND].std())))
