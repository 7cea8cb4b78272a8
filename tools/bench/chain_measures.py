"""What a portrait does to the picture around a face and to the face itself, measured against its template.

Everything is measured at the template's own size, in the region where the template's face lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from benchkit import Image
from numpy.typing import NDArray

Plane = NDArray[np.float32]

RING_FROM, RING_TO = 0.03, 0.3
"""Between which distances from the face, in its widths, the surroundings lie."""
INSIDE = 0.04
"""How far inside the outline the detail of the face and the inner side of the edge are taken, in widths of the face."""
FINE = 1.2
"""The sigma, in pixels, above which a detail isn't fine."""


@dataclass(frozen=True)
class Change:
    """``ring``: how much the surroundings differ, in levels of 255. ``detail``: the fine detail in the face, as a ratio
    to the template's. ``step``: how much more than in the template the colour differs from one side of the outline to
    the other, in units of LAB."""

    ring: float
    detail: float
    step: float


def change(portrait: Image, template: Image, face: Plane) -> Change:
    """Measure a portrait; ``face`` is the template's face as a mask of the same size."""
    inside = (face > 0.5).astype(np.uint8)
    width = float(np.ptp(np.flatnonzero(inside.any(0)))) + 1
    out, deep = distance(1 - inside), distance(inside)
    ring = (out > RING_FROM * width) & (out <= RING_TO * width)
    levels = np.abs(portrait.astype(np.float32) - template).mean(2)
    core = deep > INSIDE * width
    return Change(
        ring=float(levels[ring].mean()),
        detail=float(fine(portrait)[core].mean() / max(1e-3, fine(template)[core].mean())),
        step=step(portrait, template, (out, deep), width),
    )


def fine(picture: Image) -> Plane:
    """The size of what is finer than ``FINE``."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), FINE)), np.float32)


def step(portrait: Image, template: Image, sides: tuple[Plane, Plane], width: float) -> float:
    """How much more the colour of the portrait steps across the outline than the template's, place by place."""
    out, deep = sides
    near = INSIDE * width
    difference = lab(portrait) - lab(template)
    within, beyond = (deep > 0) & (deep <= 2 * near), (out > 0) & (out <= 2 * near)
    inner, outer = (local(difference, side, near) for side in (within, beyond))
    edge = (deep > 0) & (deep <= 1.5)
    return float(np.linalg.norm((inner - outer)[edge], axis=1).mean())


def local(values: Plane, where: NDArray[np.bool_], sigma: float) -> Plane:
    """The mean of ``values`` (h, w, 3) over ``where``, near each pixel."""
    weight = where.astype(np.float32)
    total = cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma)
    return np.asarray(total / (cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-4)[..., None], np.float32)


def lab(picture: Image) -> Plane:
    """In CIE LAB."""
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def distance(inside: Any) -> Plane:
    """How far each pixel is from the nearest that isn't inside."""
    return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
