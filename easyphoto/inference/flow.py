"""What a frame's result becomes in the next frame: carried there by the movement of the input."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image, Mask
from easyphoto.vision import geometry

TRUST = 14.0
"""How many levels of 255 the input may differ from its own warped past for the past to count by 1/e."""


def between(past: Image, now: Image) -> NDArray[np.float32]:
    """Where each pixel of ``now`` was in ``past``: (height, width, 2) in pixels, as a way from where it is. DIS of
    OpenCV (Kroeger et al., "Fast optical flow using dense inverse search", 2016)."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (now, past)]
    if min(grey[0].shape) < 32:
        return np.zeros((*grey[0].shape, 2), np.float32)
    return np.asarray(search.calc(grey[0], grey[1], None), np.float32)


def warped(image: NDArray[np.generic], way: NDArray[np.float32]) -> NDArray[np.generic]:
    """``image`` brought from the past to now along ``way``."""
    height, width = way.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + way[..., 0], y + way[..., 1]
    moved = cv2.remap(np.ascontiguousarray(image), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved)


class Past:
    """The last frame of a clip and what was made of it. ``laid``: where the result was laid over the frame."""

    def __init__(self, frame: Image, result: Image, laid: Mask) -> None:
        self._frame, self._result, self._laid = frame, result, laid

    def carried(self, now: Image) -> tuple[Image, Mask]:
        """The result as it would stand in the frame ``now``, and how far it can be trusted at each pixel: not where
        nothing was laid, nor where the input itself has become another."""
        way = between(self._frame, now)
        was = warped(self._frame, way).astype(np.float32)
        apart = cv2.GaussianBlur(np.abs(was - now).mean(2), (0, 0), 1.5)
        laid = np.clip(warped(self._laid, way), 0, 1).astype(np.float32)
        trust = np.asarray(laid * np.exp(-apart / TRUST), np.float32)
        return np.asarray(warped(self._result, way), np.uint8), trust


def held(now: Image, past: Image, trust: Mask, share: float) -> Image:
    """``now`` with ``share`` of ``past``, where that is trusted."""
    return geometry.blend(now, past, np.asarray(trust * share, np.float32))
