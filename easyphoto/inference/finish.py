"""The last touches on a whole picture: the skin and the sharpness of the faces that were made, and of no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from easyphoto.config import PortraitConfig
from easyphoto.inference import stages
from easyphoto.pictures import MAX_SIDE
from easyphoto.ports import Alpha, Face, Image, Vision
from easyphoto.vision import geometry

SKIN_RATIO, FACE_RATIO = 3.0, 2.0
ENLARGED = 2.0


def retouch(
    picture: Image, made: Sequence[Face], others: Sequence[Face], config: PortraitConfig, vision: Vision
) -> Image:
    """``picture`` with the skin of the faces of ``made`` smoothed, if ``config`` says so."""
    if not config.skin_retouching_bool:
        return picture
    return _on_faces(picture, made, others, SKIN_RATIO, vision.retoucher.retouch)


def enhance(
    picture: Image, made: Sequence[Face], others: Sequence[Face], config: PortraitConfig, vision: Vision
) -> tuple[Image, float]:
    """``picture`` sharpened as ``config`` says, and how many times larger it became.

    ``gpen`` sharpens the faces of ``made`` and changes nothing else; ``realesrgan`` enlarges the whole picture.
    """
    if not config.super_resolution or config.super_resolution_ratio == 0:
        return picture, 1.0
    share = config.super_resolution_ratio
    if config.super_resolution_method == "gpen":

        def sharpen(part: Image) -> Image:
            return _mix(part, vision.enhancer.enhance(part, 1.0), share)

        return _on_faces(picture, made, others, FACE_RATIO, sharpen), 1.0
    scale = max(1.0, min(ENLARGED, MAX_SIDE / max(picture.shape[:2])))
    larger = vision.enhancer.enhance(picture, scale)
    plain = geometry.resize(picture, (larger.shape[0], larger.shape[1]))
    return _mix(plain, larger, share), larger.shape[0] / picture.shape[0]


def alpha_of(alpha: Alpha | None, picture: Image) -> Alpha | None:
    """The template's transparency at the size of the finished ``picture``."""
    if alpha is None or alpha.shape == picture.shape[:2]:
        return alpha
    larger: Alpha = cv2.resize(alpha, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_CUBIC)
    return larger


def _on_faces(
    picture: Image, made: Sequence[Face], others: Sequence[Face], ratio: float, change: Callable[[Image], Image]
) -> Image:
    size = picture.shape[0], picture.shape[1]
    for face in made:
        crop = geometry.face_crop(face, ratio, size)
        rest = [*others, *(other for other in made if other is not face)]
        permitted = stages.allowed(crop, [face], rest)
        part = geometry.cut(picture, crop)
        picture = stages.paste_back(picture, change(part), crop, stages.crop_mask(crop, size), permitted)
    return picture


def _mix(plain: Image, other: Image, share: float) -> Image:
    return geometry.blend(plain, other, np.full(plain.shape[:2], share, np.float32))
