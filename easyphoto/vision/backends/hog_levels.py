"""dlib's frontal detector for a face of which the place and the size are known.

The detector shrinks a picture again and again by a sixth, and looks at every size (level) for faces that fill its
window. Two thirds of its time go to the first two levels, in which only small faces are found. Here the levels are left
out whose faces are much smaller than the one that is looked for. What is found at the others is the same bit by bit,
because the levels are made by dlib's own hands in the same way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 6
"""From level to level a picture is shrunk to (STEP - 1) / STEP."""
WINDOW, CELL, PLACE = 73, 8, 5
"""The side of every box at its own level, the grid on which the boxes lie there, and their place on this grid."""
SMALLER = 0.5
"""The levels whose faces are smaller than this share of the wanted one are left out."""


def first_level(side: float) -> int:
    """The first level that is looked at for a box of ``side`` pixels."""
    return max(0, math.ceil(math.log(max(SMALLER * side / WINDOW, 1e-6)) / math.log(STEP / (STEP - 1))))


def run(hog: Any, grey: NDArray[np.uint8], side: float) -> list[tuple[Any, float]] | None:
    """What ``hog`` finds in a grey picture that isn't much smaller than ``side``: dlib's rectangles in pixels of the
    picture, and their scores. None where nothing can be left out, or where a rectangle can't be told exactly. The
    caller holds dlib's lock."""
    import dlib

    start, down = first_level(side), dlib.pyramid_down(STEP)
    if start == 0:
        return None
    small = grey
    for _ in range(start):
        small = np.asarray(down(small))
        if min(small.shape) < WINDOW:
            return None
    rectangles, scores, _ = hog.run(small, 0, 0.0)
    found: list[tuple[Any, float]] = []
    for rectangle, score in zip(rectangles, scores, strict=True):
        raised = _raised(down, rectangle, start)
        if raised is None:
            return None
        found.append((raised, float(score)))
    return found


def _raised(down: Any, rectangle: Any, start: int) -> Any | None:
    """The rectangle that dlib would give in the whole picture for one that it gave at the level ``start``. dlib rounds
    only once on its way from the rectangle's own level, so that level is searched for first."""
    import dlib

    for level in range(32):
        box = down.rect_down(dlib.drectangle(rectangle), level) if level else dlib.drectangle(rectangle)
        own = dlib.rectangle(round(box.left()), round(box.top()), round(box.right()), round(box.bottom()))
        if own.width() < WINDOW:
            return None
        on_grid = own.left() % CELL == own.top() % CELL == PLACE
        if on_grid and own.width() == own.height() == WINDOW and _up(down, own, level) == rectangle:
            return _up(down, own, start + level)
    return None


def _up(down: Any, rectangle: Any, levels: int) -> Any:
    return down.rect_up(rectangle, levels) if levels else rectangle
