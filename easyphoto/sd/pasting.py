"""The mask of a picture to picture in pixels, without a model: how it is feathered and how the result is laid into the
original. A host whose engine runs elsewhere does this the same way."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from easyphoto.ports import Image, Mask


def blur(mask: Mask, sigma: float) -> Mask:
    """Return a mask, feathered by a Gaussian of ``sigma`` pixels that reaches 2.5 sigma far, as WebUIs blur theirs."""
    if sigma <= 0:
        return mask
    size = 2 * int(2.5 * sigma + 0.5) + 1
    soft: Mask = np.clip(cv2.GaussianBlur(mask, (size, size), sigma), 0, 1).astype(np.float32)
    return soft


def latent_mask(blurred: Mask, width: int, height: int) -> Mask:
    """Return 1 for each of ``width`` x ``height`` latent pixels where the blurred mask is above one half, and else
    0."""
    small = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_AREA)
    cells: Mask = np.rint(small).astype(np.float32)
    return cells


def paste(original: Image, painted: Image, blurred: Mask) -> Image:
    """Lay ``painted`` over ``original``: fully where the blurred mask is 0.5 or more, faded elsewhere, and not at all
    where it is 0.

    The doubling keeps all that was repainted (latents change where the mask is above 0.5) and fades outside of it.
    """
    alpha = np.clip(blurred * 2, 0, 1)[..., None]
    mixed = np.rint(original * (1 - alpha) + painted * alpha).astype(np.uint8)
    return np.where(blurred[..., None] == 0, original, mixed)


def fitted(picture: Any, width: int, height: int) -> Any:
    """Return a picture or a mask at another size: averaged where a picture shrinks, by Lanczos where it grows; a mask
    is interpolated linearly."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = picture.shape[0] * picture.shape[1] > height * width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    scaled = cv2.resize(picture, (width, height), interpolation=way if picture.ndim == 3 else cv2.INTER_LINEAR)
    return scaled.astype(picture.dtype)
