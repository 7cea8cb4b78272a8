"""Whether something covers the lower half of a face: a mask, a hand, a cup, a phone."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image
from easyphoto.vision import geometry

SIDE = 112
_POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)
"""Where the five points of a face lie in the small picture that is looked at."""
_LOWER = (slice(62, 110), slice(24, 88))
"""From the tip of the nose to the chin."""
_BRIDGE = (slice(44, 62), slice(48, 64))
_CELLS = (8, 6)
_SCALE = np.array([40, 12, 12], np.float32)


def hidden(image: Image, face: Face) -> float:
    """How much more the lower half of a face looks covered than bare: around -1 for most bare faces, around 1 for most
    covered ones. A linear function of the edges there, and of how unlike the bridge of the nose its colours are, which
    ``tools/calibrate_lower_face.py`` made from portraits and from the same ones with things drawn over them."""
    weights, offset = _weights()
    return float(features(aligned(image, face)) @ weights + offset)


def aligned(image: Image, face: Face) -> Image:
    """The face brought to ``SIDE`` pixels by its five points."""
    matrix = geometry.similarity(face.points, _POINTS)
    return geometry.warp(image, matrix, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def features(face: Image) -> NDArray[np.float32]:
    """What an aligned face is judged by, as a vector."""
    lower = np.ascontiguousarray(face[_LOWER])
    height, width = lower.shape[:2]
    edges = cv2.HOGDescriptor((width, height), (16, 16), (8, 8), (8, 8), 9)
    drawn = np.asarray(edges.compute(cv2.cvtColor(lower, cv2.COLOR_RGB2GRAY)), np.float32).ravel()
    lab = cv2.cvtColor(cv2.GaussianBlur(face, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32)
    skin = np.median(lab[_BRIDGE].reshape(-1, 3), 0)
    apart = (cv2.resize(lab[_LOWER], _CELLS, interpolation=cv2.INTER_AREA) - skin) / _SCALE
    colours = 0.3 * np.tanh(np.concatenate([apart.ravel(), np.abs(apart).ravel()]))
    return np.asarray(np.concatenate([drawn, colours]), np.float32)


@cache
def _weights() -> tuple[NDArray[np.float32], float]:
    file = resources.files("easyphoto.vision.backends").joinpath("data/lower_face.json")
    data = json.loads(file.read_text("utf-8"))
    return np.array(data["weights"], np.float32), float(data["offset"])
