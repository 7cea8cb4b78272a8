"""Statistics of colours in CIE LAB (L in [0, 100], a and b around 0), and bringing the colours of one region to those
of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image, Mask
from easyphoto.vision import masks

Lab: TypeAlias = NDArray[np.float32]

GAIN = 0.5, 2.0
"""By how much deviations may shrink and grow."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """The mean and the standard deviation of the three LAB channels; each has the shape (3,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def to_lab(image: Image) -> Lab:
    """An RGB picture (``uint8``) in LAB (``float32``)."""
    lab: Lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def to_rgb(lab: Lab) -> Image:
    """A LAB picture (``float32``) in RGB (``uint8``), clipped to what RGB can show."""
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.asarray(np.rint(np.clip(rgb, 0, 1) * 255), np.uint8)


def statistics(lab: Lab, mask: Mask) -> Statistics | None:
    """The statistics of ``lab``, weighted by ``mask``; None when the mask is empty."""
    counted = mask > 0
    weights = mask[counted].astype(np.float64)
    total = weights.sum()
    if total < 1e-6:
        return None
    values = lab[counted].astype(np.float64)
    mean = weights @ values / total
    variance = weights @ (values - mean) ** 2 / total
    return Statistics(mean, np.sqrt(variance))


def match(lab: Lab, mask: Mask, wanted: Statistics, gain: tuple[float, float] = GAIN) -> Lab:
    """``lab``, changed everywhere in the way that brings its mean and deviation under ``mask`` to ``wanted``.

    The deviation is scaled only within the bounds of ``gain``, so that noise in a flat region isn't blown up. The
    method is that of Reinhard et al., "Color Transfer between Images", 2001, in CIE LAB.
    """
    own = statistics(lab, mask)
    if own is None:
        return lab.copy()
    ratio = np.clip(wanted.std / np.maximum(own.std, 1e-3), *gain)
    offset = wanted.mean - own.mean * ratio
    return np.asarray(lab * ratio.astype(np.float32) + offset.astype(np.float32), np.float32)


def shift(
    image: Image,
    mask: Mask,
    reference: Image,
    reference_mask: Mask,
    *,
    amount: float = 1.0,
    feather: Mask | None = None,
    contrast: float = GAIN[1],
) -> Image:
    """``image`` with the colours of its part under ``mask`` brought to those of ``reference`` under ``reference_mask``.

    ``amount`` in [0, 1] says how far, and ``contrast`` by how much the deviations may grow at most. The change is laid
    on through ``feather`` (``mask`` itself when None), and where that is 0 no bit changes. An empty mask changes
    nothing.
    """
    laid = (mask if feather is None else feather) * np.float32(amount)
    model = masks.extent(reference_mask)
    wanted = statistics(to_lab(reference[model]), reference_mask[model])
    if wanted is None or not laid.any():
        return image.copy()
    # Only the rectangle that counts is computed: a face is a small part of a large picture.
    near = masks.extent(np.maximum(mask, laid))
    lab, share = to_lab(image[near]), laid[near][..., None]
    moved = match(lab, mask[near], wanted, (GAIN[0], contrast))
    shifted = image.copy()
    shifted[near] = np.where(share > 0, to_rgb(lab + (moved - lab) * share), image[near])
    return shifted
