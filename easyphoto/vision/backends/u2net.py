"""The person in front of the background, found by U2-Net (Qin et al., 2020) as an ONNX model."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from easyphoto.ports import Face, Image, Mask
from easyphoto.vision import geometry
from easyphoto.vision.backends.onnx_models import OnnxModel

SIDE = 320
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class U2NetSaliency:
    """Finds what stands out in a picture. Where a face is given, it keeps only the piece to which the face belongs."""

    name = "u2net"

    def __init__(self, path: Path) -> None:
        self._model = OnnxModel(path, (None, 3, SIDE, SIDE), (None, 1, SIDE, SIDE))

    def mask(self, image: Image, face: Face | None) -> Mask:
        """A soft mask of the picture's size."""
        small = geometry.resize(image, (SIDE, SIDE)).astype(np.float32)
        small = (small / max(1.0, float(small.max())) - MEAN) / STD
        found = self._model(small.transpose(2, 0, 1)[None])[0, 0]
        low, high = float(found.min()), float(found.max())
        mask = np.asarray((found - low) / (high - low) if high > low else np.zeros_like(found), np.float32)
        whole = geometry.resize_mask(mask, (image.shape[0], image.shape[1]))
        return whole if face is None else _with_face(whole, face)


def _with_face(mask: Mask, face: Face) -> Mask:
    """``mask`` without the pieces that don't touch the face. Where no piece touches it the mask stays as it is."""
    count, labels = cv2.connectedComponents((mask > 0.1).astype(np.uint8), connectivity=8)
    crop = geometry.box_crop(face.box, (mask.shape[0], mask.shape[1]))
    touching = np.unique(labels[crop.top : crop.bottom, crop.left : crop.right])
    touching = touching[touching > 0]
    if count <= 2 or len(touching) == 0:
        return mask
    return np.where(np.isin(labels, touching), mask, 0).astype(np.float32)
