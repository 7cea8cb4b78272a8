"""Control maps that need no weights: canny, colour, tile, and OpenPose's dots of a face, drawn from its 68 points. All
are RGB ``uint8``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np

from easyphoto.ports import ControlRole, Image, Points
from easyphoto.vision import geometry

COLOUR_SIDE = 1024
COLOUR_CELL = 24


def canny(image: Image, low: int = 100, high: int = 200) -> Image:
    """White edges on black, found with the thresholds of ControlNet's canny."""
    edges = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), low, high)
    return np.repeat(edges[..., None], 3, axis=2)


def color(image: Image) -> Image:
    """The colours of the picture without its detail: one sample for each cell, smoothly joined. A cell has 24 pixels
    where the short side has 1024."""
    height, width = image.shape[:2]
    cell = COLOUR_CELL * min(height, width) / COLOUR_SIDE
    small = geometry.resize(image, (max(1, round(height / cell)), max(1, round(width / cell))))
    smooth: Image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth


def tile(image: Image, down: float = 1.0) -> Image:
    """The picture, softened: it is shrunk ``down`` times and enlarged again. 1 leaves it as it is."""
    height, width = image.shape[:2]
    if down <= 1:
        return image.copy()
    small = geometry.resize(image, (max(1, round(height / down)), max(1, round(width / down))))
    return geometry.resize(small, (height, width))


def color_grid(image: Image, cells: int = 16) -> Image:
    """The picture as a mosaic of ``cells`` cells across, which is what the bench checkpoint's colour control learned
    from."""
    height, width = image.shape[:2]
    cell = max(1, width // cells)
    small = cv2.resize(image, (max(1, width // cell), max(1, height // cell)), interpolation=cv2.INTER_AREA)
    mosaic: Image = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return mosaic


def openpose_face(size: tuple[int, int], faces: Sequence[Points], pupils: bool = False) -> Image:
    """OpenPose's drawing of faces: white dots at the 68 landmarks of each, radius width/170 (at least 1), on black.

    OpenPose marks the pupils as well. With ``pupils`` the middle of the six points of an eye is marked in their place.
    """
    height, width = size
    canvas = np.zeros((height, width, 3), np.uint8)
    radius = max(1, round(width / 170))
    for landmarks in faces:
        middles = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)] if pupils else []
        for x, y in [*landmarks, *middles]:
            cv2.circle(canvas, (round(float(x)), round(float(y))), radius, (255, 255, 255), thickness=-1)
    return canvas


STICK, DOT = 4, 10
"""Half the width of a line and the radius of a dot of InstantID's drawing, in pixels at any size."""
POINT_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
"""The colours of the eyes, the nose and the corners of the mouth, each from left to right."""
NOSE, LINE_LIGHT = 2, 0.6


def face_keypoints(size: tuple[int, int], points: Points) -> Image:
    """InstantID's drawing of a face on black: a line from each of its five ``points`` to the nose, in the point's own
    colour and darker, with the points as dots over them."""
    canvas: Image = np.zeros((*size, 3), np.uint8)
    nose = points[NOSE]
    for colour, point in [pair for i, pair in enumerate(zip(POINT_COLOURS, points, strict=True)) if i != NOSE]:
        across, middle = point - nose, (point + nose) / 2
        length, angle = float(np.hypot(*across)), float(np.degrees(np.arctan2(across[1], across[0])))
        line = cv2.ellipse2Poly((int(middle[0]), int(middle[1])), (int(length / 2), STICK), int(angle), 0, 360, 1)
        cv2.fillConvexPoly(canvas, line, colour)
    canvas = (canvas * LINE_LIGHT).astype(np.uint8)
    for colour, point in zip(POINT_COLOURS, points, strict=True):
        cv2.circle(canvas, (int(point[0]), int(point[1])), DOT, colour, -1)
    return canvas


MAPS: Mapping[ControlRole, Callable[[Image], Image]] = MappingProxyType(
    {ControlRole.CANNY: canny, ControlRole.COLOR: color, ControlRole.TILE: tile}
)
"""The maps that need the picture alone, by role. Every host draws them in this way, so that they are the same."""
