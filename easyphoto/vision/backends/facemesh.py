"""The 68 points of a face, chosen from the 468 that MediaPipe's face mesh finds (Kartynnik et al., 2019).

The network may be used commercially, and torch computes it from its TensorFlow.js files.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from easyphoto.ports import Face, Image, Points
from easyphoto.vision import geometry

SIDE = 192
AROUND = 3.4
"""The network sees a square of so many distances between the eyes, or between the eyes and the mouth where those are
longer, turned so that the eyes are level."""
POINTS = 468
_JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
_BROWS = (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
_NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
OF_68 = np.array((*_JAW, *_BROWS, *_NOSE, *_EYES, *_LIPS))
"""Which points of the mesh lie where the 68 points of the iBUG scheme do."""


class FaceMesh:
    """Finds the points by the face mesh, on the CPU."""

    name = "facemesh"

    def __init__(self, graph: Path, weights: Path) -> None:
        """Raises :class:`AssetMissing` when the files can't be used."""
        from easyphoto.vision.backends.tfjs_graph import TfjsGraph

        self._graph = TfjsGraph(graph, weights, "Identity_2")
        self._lock = threading.Lock()

    def locate(self, image: Image, face: Face) -> Points:
        return np.asarray(self.mesh(image, face)[OF_68], np.float32)

    def mesh(self, image: Image, face: Face) -> Points:
        """All points of the mesh, shape (468, 2)."""
        import torch

        matrix = _into_square(face.points)
        shrinks = abs(float(np.linalg.det(matrix[:, :2]))) < 1
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        square = geometry.warp(image, matrix, (SIDE, SIDE), interpolation=way)
        with self._lock:
            found = self._graph(torch.from_numpy(square.astype(np.float32)[None] / 255))
        points = found.reshape(POINTS, 3)[:, :2].numpy()
        return geometry.transform(cv2.invertAffineTransform(matrix), np.asarray(points, np.float32))


def _into_square(five: Points) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The map (2, 3) that takes the picture's pixels to those of the square."""
    points = np.asarray(five, np.float64)
    eyes, mouth, along = points[:2].mean(0), points[3:].mean(0), points[1] - points[0]
    scale = SIDE / (AROUND * max(1.0, float(np.hypot(*along)), float(np.hypot(*(mouth - eyes)))))
    turn = np.arctan2(along[1], along[0])
    turned = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.column_stack([turned, np.full(2, SIDE / 2) - turned @ ((eyes + mouth) / 2)])
