"""Pictures are enlarged by Real-ESRGAN's RRDB network for twice the size, and faces are restored by GPEN."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from easyphoto.ports import Enhancer, Image, Points
from easyphoto.vision import geometry
from easyphoto.vision.backend import Context
from easyphoto.vision.backends.arcface import aligned, soft_square
from easyphoto.vision.backends.net_weights import device, fill, read_state
from easyphoto.vision.backends.onnx_models import OnnxModel

TILE, OVERLAP = 256, 16
FFHQ_POINTS: Points = np.array(
    [[192.98, 239.95], [318.90, 240.19], [256.63, 314.02], [201.26, 371.41], [313.09, 371.15]], np.float32
)
"""Where the five points of a face lie in a picture of FFHQ with a side of 512 pixels, as its tools publish it."""


class RrdbEnhancer:
    """Doubles the size as often as needed, and then shrinks the picture to what was asked for. It works in tiles, so
    that the memory doesn't grow with the picture."""

    name = "realesrgan"

    def __init__(self, path: Path) -> None:
        from easyphoto.vision.backends.nets import RRDBNet

        state = read_state(path)
        self._net = RRDBNet()
        fill(self._net, state.get("params_ema", state.get("params", state)), path)
        self._net.to(device())
        self._lock = threading.Lock()

    def enhance(self, image: Image, scale: float) -> Image:
        """The picture, ``scale`` (>= 1) times as large and sharper."""
        if scale < 1:
            raise ValueError(f"scale must be at least 1, not {scale}")
        goal = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
        large = self._twice(image)
        while large.shape[0] < goal[0]:
            large = self._twice(large)
        return geometry.resize(large, goal)

    def _twice(self, image: Image) -> Image:
        height, width = image.shape[:2]
        edge = (OVERLAP, OVERLAP + height % 2), (OVERLAP, OVERLAP + width % 2), (0, 0)
        padded = np.pad(image, edge, mode="edge")
        large = np.empty((2 * height, 2 * width, 3), np.uint8)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                rows, columns = min(TILE, height - top), min(TILE, width - left)
                bottom, right = top + rows + rows % 2 + 2 * OVERLAP, left + columns + columns % 2 + 2 * OVERLAP
                tile = self._run(padded[top:bottom, left:right])
                inner = tile[2 * OVERLAP : 2 * (OVERLAP + rows), 2 * OVERLAP : 2 * (OVERLAP + columns)]
                large[2 * top : 2 * (top + rows), 2 * left : 2 * (left + columns)] = inner
        return large

    def _run(self, tile: Image) -> Image:
        import torch

        batch = np.ascontiguousarray(tile.transpose(2, 0, 1)[None], np.float32) / 255
        with self._lock, torch.inference_mode():
            made = self._net(torch.from_numpy(batch).to(device()))[0].float().cpu().numpy()
        result: Image = np.clip(np.rint(made.transpose(1, 2, 0) * 255), 0, 255).astype(np.uint8)
        return result


class GpenEnhancer:
    """Restores every face at 512 x 512 (Yang et al., "GAN Prior Embedded Network", 2021) and lays it back, with a soft
    edge, onto the picture that ``background`` enlarged."""

    name = "gpen"
    SIDE = 512

    def __init__(self, path: Path, background: Enhancer, context: Context) -> None:
        self._model = OnnxModel(path, (None, 3, self.SIDE, self.SIDE), (None, 3, self.SIDE, self.SIDE))
        self._background = background
        self._vision = context.vision

    def enhance(self, image: Image, scale: float) -> Image:
        """The picture, ``scale`` (>= 1) times as large, with its faces restored."""
        large = self._background.enhance(image, scale)
        ratio = np.array([large.shape[1] / image.shape[1], large.shape[0] / image.shape[0]], np.float32)
        mask = soft_square(self.SIDE)
        for face in self._vision.detector.detect(image):
            chip = aligned(image, face.points, FFHQ_POINTS, self.SIDE)
            batch = (chip.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
            made = self._model(batch)[0].transpose(1, 2, 0)
            restored: Image = np.clip(np.rint((made + 1) * 127.5), 0, 255).astype(np.uint8)
            large = geometry.paste_similar(large, face.points * ratio, restored, FFHQ_POINTS, mask)
        return large
