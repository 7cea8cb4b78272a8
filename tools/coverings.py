"""Covers faces on photos, to see whether the program notices: masks, hands, and a phone, drawn over a known face."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto.ports import Image, Points  # noqa: E402

_CLOTHS = ((175, 205, 225), (238, 240, 240), (28, 30, 34), (120, 170, 160), (190, 120, 140), (205, 175, 150))
"""Colours of masks: surgical blue, white, black, green, pink, and one that is near to skin."""
_FINGERS = 4


def masked(image: Image, points: Points, rng: np.random.Generator) -> Image:
    """A mask of cloth from the bridge of the nose to under the chin, with pleats, of one colour or striped.

    ``points`` are the face's 68 points.
    """
    top = points[[28, 29]].mean(0) + (points[30] - points[27]) * float(rng.uniform(-0.1, 0.25))
    chin = points[5:12] + (points[8] - points[33]) * 0.08
    outline = np.concatenate([points[2:5], chin, points[12:15], points[[14]] * 0.6 + top * 0.4, top[None],
                              points[[2]] * 0.6 + top * 0.4])  # fmt: skip
    cloth = np.empty(image.shape, np.float32)
    cloth[:] = _CLOTHS[int(rng.integers(len(_CLOTHS)))]
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    width = float(points[16, 0] - points[0, 0])
    if rng.random() < 0.3:
        stripes = np.sin((x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) * 40 / width) > 0
        cloth[stripes] = np.array(_CLOTHS[int(rng.integers(len(_CLOTHS)))], np.float32)
    pleats = 1 + 0.05 * np.sin((y - top[1]) * 2 * np.pi / (width * float(rng.uniform(0.1, 0.2))))
    round_off = 1 - 0.25 * ((x - float(points[33, 0])) / (0.6 * width)) ** 2
    cloth *= (pleats * round_off.clip(0.5, 1) * _light(image, points))[..., None]
    return _laid(image, cloth + rng.normal(0, 3, image.shape), outline, width)


def with_hand(image: Image, points: Points, rng: np.random.Generator) -> Image:
    """Fingers of the face's own colour over the mouth, and over the tip of the nose or the chin."""
    width = float(points[16, 0] - points[0, 0])
    middle = points[48:60].mean(0) + (points[33] - points[57]) * float(rng.uniform(-0.15, 0.3))
    side, tilt = float(rng.choice([-1, 1])), float(rng.uniform(-0.7, 0.7))
    along = np.array([side * np.cos(tilt), np.sin(tilt)])
    across = np.array([-along[1], along[0]])
    thick = width * float(rng.uniform(0.13, 0.17))
    skin = _skin(image, points) * float(rng.uniform(0.85, 1.1))
    made = image
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    for finger in range(_FINGERS):
        offset = (finger - (_FINGERS - 1) / 2) * thick
        reach = width * float(rng.uniform(0.3, 0.5))
        tip, root = middle + across * offset - along * reach, middle + across * offset + along * 1.2 * width
        beside = np.abs((x - tip[0]) * across[0] + (y - tip[1]) * across[1]) / (thick / 2)
        shade = (1 - 0.35 * beside.clip(0, 1) ** 3) * (1 - 0.04 * rng.random())
        colour = skin * shade[..., None] + rng.normal(0, 3, image.shape)
        line = np.zeros(image.shape[:2], np.uint8)
        cv2.line(line, _pixel(tip), _pixel(root), 255, max(1, round(thick)))
        made = _blended(made, colour, line, width)
    return made


def with_phone(image: Image, points: Points, rng: np.random.Generator) -> Image:
    """A dark slab with rounded edges over mouth and chin."""
    width = float(points[16, 0] - points[0, 0])
    middle = points[48:60].mean(0) + width * np.array([rng.uniform(-0.15, 0.15), rng.uniform(0.0, 0.15)])
    box = cv2.boxPoints((tuple(map(float, middle)), (0.55 * width, 0.7 * width), float(rng.uniform(-25, 25))))
    colour = np.full(image.shape, float(rng.uniform(15, 60)), np.float32) + rng.normal(0, 2, image.shape)
    return _laid(image, colour, box, width)


COVERINGS: dict[str, Callable[[Image, Points, np.random.Generator], Image]] = {
    "mask": masked,
    "hand": with_hand,
    "phone": with_phone,
}


def _light(image: Image, points: Points) -> float:
    """How bright the face is, against a face in good light."""
    return float(np.clip(_skin(image, points).mean() / 170, 0.35, 1.2))


def _skin(image: Image, points: Points) -> NDArray[np.float32]:
    """The colour between the brows and on the cheeks under the eyes."""
    spots = np.stack([points[27], points[[1, 31]].mean(0), points[[15, 35]].mean(0)])
    size = max(2, round(float(points[16, 0] - points[0, 0]) / 20))
    found = []
    for x, y in np.round(spots).astype(int):
        part = image[max(0, y - size) : y + size + 1, max(0, x - size) : x + size + 1]
        if part.size:
            found.append(np.median(part.reshape(-1, 3), 0))
    return np.asarray(np.median(np.array(found), 0), np.float32)


def _laid(image: Image, colour: NDArray[np.floating[Any]], outline: Points, width: float) -> Image:
    shape = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(shape, [np.round(outline).astype(np.int32)], 255)
    return _blended(image, colour, shape, width)


def _blended(image: Image, colour: NDArray[np.floating[Any]], shape: NDArray[np.uint8], width: float) -> Image:
    soft = cv2.GaussianBlur(shape.astype(np.float32) / 255, (0, 0), max(0.6, width / 120))[..., None]
    return np.asarray((image * (1 - soft) + colour * soft).clip(0, 255).round(), np.uint8)


def _pixel(point: Points) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
