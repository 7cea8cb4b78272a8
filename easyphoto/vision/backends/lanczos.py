"""Enhancement without a network."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import Image
from easyphoto.vision import geometry

AMOUNT = 0.6


class LanczosEnhancer:
    """Resizes with Lanczos, and then sharpens the lightness with an unsharp mask."""

    name = "lanczos"

    def enhance(self, image: Image, scale: float) -> Image:
        """The picture, ``scale`` (>= 1) times as large and sharper."""
        if scale < 1:
            raise ValueError(f"scale must be at least 1, not {scale}")
        height, width = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
        large = geometry.resize(image, (height, width))
        lab = cv2.cvtColor(large, cv2.COLOR_RGB2LAB)
        light = lab[..., 0].astype(np.float32)
        detail = light - cv2.GaussianBlur(light, (0, 0), max(0.8, scale))
        # Detail of a grey level or two is noise, so the sharpening sets in gradually.
        lifted = light + AMOUNT * detail * np.clip(np.abs(detail) / 4, 0, 1)
        lab[..., 0] = np.clip(np.rint(lifted), 0, 255).astype(np.uint8)
        sharpened: Image = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
        return sharpened
