"""Skin retouching with DAMO's published generator (modelscope cv_unet_skin_retouching_torch), without modelscope and
TensorFlow: the network that evens the skin. Its blemish remover and whitening are not used."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from easyphoto.errors import AssetMissing
from easyphoto.ports import Face, Image
from easyphoto.vision import geometry
from easyphoto.vision.backend import Context
from easyphoto.vision.backends.arcface import soft_square
from easyphoto.vision.backends.net_weights import device, fill, read_state

SIDE = 512
CROP = 1.5


class RetouchNet:
    """Evens the skin. A map m for each face says where to lighten and where to darken: a colour x in [0, 1] becomes
    ``(1 - 2m) x^2 + 2m x`` (the "soft light" of picture editors)."""

    name = "skin-retouching"

    def __init__(self, path: Path, context: Context) -> None:
        from easyphoto.vision.backends.nets import RetouchUNet

        state = read_state(path)
        if not isinstance(generator := state.get("generator"), dict):
            raise AssetMissing("{path} holds no generator of the skin retouching.", path=path.name)
        self._net = RetouchUNet()
        fill(self._net, generator, path)
        self._net.to(device())
        self._vision = context.vision
        self._lock = threading.Lock()

    def retouch(self, image: Image) -> Image:
        """``image`` with the skin of every face evened, in the same shape."""
        out = image.copy()
        for face in self._vision.detector.detect(image):
            out = self._face(out, face)
        return out

    def _face(self, image: Image, face: Face) -> Image:
        import torch

        crop = geometry.face_crop(face, CROP, (image.shape[0], image.shape[1]))
        part = geometry.cut(image, crop).astype(np.float32) / 255
        square = geometry.resize(geometry.cut(image, crop), (SIDE, SIDE)).astype(np.float32) / 255
        batch = np.ascontiguousarray((square * 2 - 1).transpose(2, 0, 1)[None])
        with self._lock, torch.inference_mode():
            made = self._net(torch.from_numpy(batch).to(device()))[0].float().cpu().numpy().transpose(1, 2, 0)
        edge = soft_square(SIDE, 0.04)[..., None]
        blend = ((made - 0.5) * edge + 0.5).astype(np.float32)
        channels = [geometry.resize_mask(np.ascontiguousarray(blend[..., i]), crop.size) for i in range(3)]
        m = np.stack(channels, -1)
        evened = (1 - 2 * m) * part * part + 2 * m * part
        patch: Image = np.clip(np.rint(evened * 255), 0, 255).astype(np.uint8)
        return geometry.paste(image, patch, crop)
