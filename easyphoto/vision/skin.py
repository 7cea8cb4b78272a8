"""How far the pixels of a picture are from the colour of a face's skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image, Mask, Points
from easyphoto.vision import colour, landmarks, masks

EYES = landmarks.LEFT_EYE, landmarks.RIGHT_EYE
SHINE = 0.4
"""By how much a pixel's distance counts where it is lighter than the cheeks: skin shines, and hair over it is
darker."""
FEWEST = 20
SPREAD = np.diag([30.0, 4.0, 4.0])
"""Beyond what the cheeks themselves vary: the forehead catches more light than they do, so its lightness may differ by
more than theirs does."""


def cheeks(size: tuple[int, int], points: Points) -> Mask:
    """Where nothing but the skin of the face with these 68 points is expected."""
    return masks.without(
        masks.hull(size, points[[1, 3, 5, 11, 13, 15, 27]]),
        masks.hull(size, landmarks.grown(points[landmarks.OUTER_LIPS], 1.2)),
        *(masks.hull(size, landmarks.grown(points[g], 1.6)) for g in EYES),
    )


def distance(image: Image, points: Points, *, steady: bool = False) -> NDArray[np.float64] | None:
    """The Mahalanobis distance (height, width) of each pixel from the colour of the cheeks; None where too few pixels
    of them are seen. ``steady``: take the colour from that half of the pixels which are most alike, so that hair and
    glasses before the cheeks don't count."""
    lab = colour.to_lab(image).reshape(-1, 3).astype(np.float64)
    chosen = lab[cheeks((image.shape[0], image.shape[1]), points).ravel() > 0.5]
    if len(chosen) < FEWEST:
        return None
    middle = np.median(chosen, axis=0)
    if steady:
        apart = np.linalg.norm((chosen - middle) * (0.5, 1.0, 1.0), axis=1)
        chosen = chosen[apart <= np.quantile(apart, 0.7)]
        middle = np.median(chosen, axis=0)
    covariance = np.cov((chosen - middle).T) + SPREAD
    off = lab - middle
    off[:, 0] = np.where(off[:, 0] > 0, off[:, 0] * SHINE, off[:, 0])
    squares = np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off)
    return np.asarray(np.sqrt(squares).reshape(image.shape[:2]), np.float64)
