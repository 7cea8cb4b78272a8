"""Make-up is carried from one picture of a face to another by the colours of the regions of the face."""

from __future__ import annotations

import cv2
import numpy as np

from easyphoto.ports import FaceParts, Image, Mask
from easyphoto.vision import colour, masks

TWO_COLOURS = 8.0
"""Where two halves of the mouth differ by this much in LAB's a, they are the lips and the teeth."""


def transfer(image: Image, parts: FaceParts, reference: Image, reference_parts: FaceParts, ratio: float) -> Image:
    """``image`` with its lips, the surroundings of its eyes and its skin in the colours that they have in
    ``reference``.

    The parts after each picture are those of its face. ``ratio`` in [0, 1] says how strongly. The mean and the
    deviation in LAB are matched region by region, through masks with soft edges; outside the face no bit changes.
    """
    made_up = image
    for region, model, amount in zip(
        _regions(image, parts), _regions(reference, reference_parts), (1.0, 1.0, 0.6), strict=True
    ):
        width = masks.width_of(parts.face)
        soft = masks.feather_inside(region, max(1.0, 0.03 * width))
        made_up = colour.shift(made_up, region, reference, model, amount=ratio * amount, feather=soft)
    return made_up


def _regions(image: Image, parts: FaceParts) -> tuple[Mask, Mask, Mask]:
    """The regions: the lips, the surroundings of the eyes (lids and shadow, without the eyes) and the rest of the
    skin."""
    reach = 0.06 * masks.width_of(parts.face)
    around = masks.intersection(masks.dilate(parts.eyes, reach), np.maximum(parts.skin, parts.brows))
    lids = masks.without(around, parts.eyes, parts.brows)
    return _painted(image, parts.lips), lids, masks.without(parts.skin, lids)


def _painted(image: Image, lips: Mask) -> Mask:
    """The lips without the teeth between them: the redder half of the mouth, where it clearly has two halves."""
    inside = lips > 0.5
    if inside.sum() < 16:
        return lips
    red = colour.to_lab(image)[..., 1]
    scaled = np.clip(red * 2 + 128, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(scaled[inside][None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    reddish = inside & (scaled > threshold)
    pale = inside & ~reddish
    if not reddish.any() or not pale.any() or float(red[reddish].mean() - red[pale].mean()) < TWO_COLOURS:
        return lips
    return masks.intersection(lips, masks.feather(reddish.astype(np.float32), 0.7))
