"""One face is bent onto the landmarks of another."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image, Mask, Points

GRID = 48
Bent = TypeVar("Bent", Image, Mask)


def bend(source: Image, source_points: Points, points: Points, size: tuple[int, int], stiffness: float = 1.0) -> Image:
    """``source`` on a canvas of ``size``, bent so that ``source_points`` fall on ``points`` (n, 2).

    The bend is a thin-plate spline (Bookstein, 1989). It is smooth, and therefore computed on a coarse grid.
    ``stiffness`` is by how many pixels of the canvas a landmark may be missed so that the bend stays even. What would
    come from outside the source repeats its border.
    """
    return bent_by(source, field(source_points, points, size, stiffness))


def bent_by(source: Bent, maps: NDArray[np.float32]) -> Bent:
    """``source``, a picture or a mask, bent by a :func:`field`."""
    bent: Bent = cv2.remap(
        source, maps[..., 0], maps[..., 1], interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return bent


def stretch(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """How many pixels of the canvas one pixel of the source is drawn out to, in the direction in which it is drawn out
    most; shape (height, width)."""
    down, across = np.gradient(maps, axis=(0, 1))
    # The least singular value of the matrix of the four derivatives says how little of the source a pixel holds.
    sum_of_squares = (down**2 + across**2).sum(2)
    area = np.abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    least = np.sqrt(np.maximum(sum_of_squares - np.sqrt(np.maximum(sum_of_squares**2 - 4 * area**2, 0)), 0) / 2)
    return np.asarray(1 / np.maximum(least, 1e-3), np.float32)


def field(source_points: Points, points: Points, size: tuple[int, int], stiffness: float = 1.0) -> NDArray[np.float32]:
    """The place in the source from which each pixel of ``size`` comes when it is bent as :func:`bend` does it; shape
    (height, width, 2)."""
    from scipy.interpolate import RBFInterpolator

    height, width = size
    rows, columns = min(height, GRID), min(width, GRID)
    # The samples lie where cv2.resize takes the centres of coarse cells to be.
    ys = (np.arange(rows) + 0.5) * height / rows - 0.5
    xs = (np.arange(columns) + 0.5) * width / columns - 0.5
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    spline = RBFInterpolator(
        np.asarray(points, np.float64),
        np.asarray(source_points, np.float64),
        kernel="thin_plate_spline",
        smoothing=stiffness,
    )
    coarse = spline(grid).reshape(rows, columns, 2)
    # Beyond the outer samples a resize would repeat them, so one extrapolated sample is added on each side.
    padded = np.pad(coarse, ((1, 1), (1, 1), (0, 0)), mode="reflect", reflect_type="odd").astype(np.float32)
    matrix = np.array([[width / columns, 0, -width / columns / 2 - 0.5], [0, height / rows, -height / rows / 2 - 0.5]])
    matrix[:, 2] += 0.0
    fine = cv2.warpAffine(padded, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(fine, np.float32)
