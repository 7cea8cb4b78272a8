"""The parts of a face, found by a BiSeNet that was trained on CelebAMask-HQ."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, FaceParts, Image, Mask
from easyphoto.vision import geometry, masks
from easyphoto.vision.backends.net_weights import device, fill, read_state

SIDE = 512
CROP = 2.0
"""How many times larger than the face the crop is that is parsed. Heads fill the pictures about so from which the
network learned."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SKIN, BROWS, EYES, GLASSES, NOSE, MOUTH, LIPS = (1,), (2, 3), (4, 5), (6,), (10,), (11,), (12, 13)
"""The numbers of the classes, of which there are 19 (0 is the background, 7-9 the ears, 14-18 neck, clothes, hair and
hat)."""


class BiSeNetParser:
    """Makes masks from the probabilities of 19 classes. They show the face that was asked for, and not its
    neighbours."""

    name = "bisenet"

    def __init__(self, path: Path) -> None:
        from easyphoto.vision.backends.nets import BiSeNet

        self._net = BiSeNet()
        fill(self._net, read_state(path), path)
        self._net.to(device())
        self._lock = threading.Lock()

    def parse(self, image: Image, face: Face) -> FaceParts:
        """The masks of the parts, each of the picture's size."""
        size = image.shape[0], image.shape[1]
        crop = geometry.face_crop(face, CROP, size)
        chances = self._chances(geometry.resize(geometry.cut(image, crop), (SIDE, SIDE)))

        def part(*groups: tuple[int, ...]) -> Mask:
            chosen = chances[[i for group in groups for i in group]].sum(0)
            return geometry.resize_mask(np.clip(chosen, 0, 1).astype(np.float32), crop.size)

        whole = part(SKIN, BROWS, EYES, GLASSES, NOSE, MOUTH, LIPS)
        own = _own(whole, geometry.in_crop(face, crop))

        def laid(mask: Mask) -> Mask:
            full = masks.empty(size)
            full[crop.top : crop.bottom, crop.left : crop.right] = mask * own
            return full

        return FaceParts(
            face=laid(whole),
            skin=laid(part(SKIN)),
            eyes=laid(part(EYES)),
            brows=laid(part(BROWS)),
            nose=laid(part(NOSE)),
            lips=laid(part(LIPS, MOUTH)),
        )

    def _chances(self, square: Image) -> NDArray[np.float32]:
        import torch

        batch = ((square.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
        with self._lock, torch.inference_mode():
            scores = self._net(torch.from_numpy(np.ascontiguousarray(batch)).to(device()))
            return np.asarray(scores.softmax(1)[0].float().cpu().numpy(), np.float32)


def _own(whole: Mask, face: Face) -> Mask:
    """A mask that is 1 on the connected piece of ``whole`` that covers most of the face's box, and a little around it,
    so that the piece keeps its soft edge."""
    count, labels = cv2.connectedComponents((whole > 0.5).astype(np.uint8), connectivity=8)
    if count <= 2:
        return np.ones_like(whole)
    crop = geometry.box_crop(face.box, (whole.shape[0], whole.shape[1]))
    inside = np.bincount(labels[crop.top : crop.bottom, crop.left : crop.right].ravel(), minlength=count)[1:]
    chosen = (labels == 1 + int(inside.argmax())).astype(np.float32)
    return masks.dilate(chosen, max(2.0, 0.02 * face.width))
