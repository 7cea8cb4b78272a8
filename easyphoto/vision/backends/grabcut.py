"""The foreground by GrabCut (Rother et al., 2004). It starts from where the face says that the person must be."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image, Mask
from easyphoto.vision import geometry, masks

WORK_SIDE = 256
ROUNDS = 3


class GrabCutSaliency:
    """Parts a person from the background. Without a face it takes what lies in the middle of the picture."""

    name = "grabcut"

    def mask(self, image: Image, face: Face | None) -> Mask:
        """The mask of the person with hair and shoulders, of the picture's size."""
        full = image.shape[0], image.shape[1]
        size = geometry.limit_long_side(full, WORK_SIDE)
        if min(size) < 8:
            return np.ones(full, np.float32)
        small = geometry.resize(image, size)
        whole = geometry.Crop(0, 0, full[1], full[0])
        seeds = _seeds(size, None if face is None else geometry.in_crop(face, whole, size))
        cut = _cut(small, seeds)
        foreground = masks.close_holes(masks.largest(cut))
        return geometry.resize_mask(masks.feather(foreground, 0.8), full)


def _cut(image: Image, seeds: NDArray[np.uint8]) -> Mask:
    foreground = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    if foreground.all() or not foreground.any():
        return np.asarray(foreground, np.float32)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    labels, *_ = cv2.grabCut(image, seeds, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)), np.float32)


def _seeds(size: tuple[int, int], face: Face | None) -> NDArray[np.uint8]:
    height, width = size
    seeds = np.full(size, cv2.GC_PR_BGD, np.uint8)
    if face is None:
        seeds[height // 8 :, width // 8 : width - width // 8] = cv2.GC_PR_FGD
        seeds[height // 3 : height - height // 3, width // 3 : width - width // 3] = cv2.GC_FGD
        return seeds
    (x, y), w, h = face.center, face.width, face.height
    seeds[: max(0, int(y - 1.5 * h))] = cv2.GC_BGD
    _ellipse(seeds, (x, y - 0.12 * h), (0.95 * w, 0.95 * h), cv2.GC_PR_FGD)
    likely = [(-0.5, 0.4), (0.5, 0.4), (1.7, 1.5), (1.9, 99), (-1.9, 99), (-1.7, 1.5)]
    _fill(seeds, [(x + w * u, min(y + h * v, height + h)) for u, v in likely], cv2.GC_PR_FGD)
    _ellipse(seeds, (x, y), (0.42 * w, 0.45 * h), cv2.GC_FGD)
    sure = [(-0.2, 0), (0.2, 0), (0.4, 1.6), (0.6, 99), (-0.6, 99), (-0.4, 1.6)]
    _fill(seeds, [(x + w * u, min(y + h * v, height + h)) for u, v in sure], cv2.GC_FGD)
    return seeds


def _ellipse(seeds: NDArray[np.uint8], center: tuple[float, float], half: tuple[float, float], value: int) -> None:
    axes = max(1, round(half[0])), max(1, round(half[1]))
    cv2.ellipse(seeds, (round(center[0]), round(center[1])), axes, 0, 0, 360, value, thickness=-1)


def _fill(seeds: NDArray[np.uint8], corners: list[tuple[float, float]], value: int) -> None:
    cv2.fillPoly(seeds, [np.rint(np.array(corners)).astype(np.int32)], value)
