"""The scale of likeness, from 0 (a stranger) to 1 (the same person), and the one way in which its numbers are written.

To compare two likenesses, compare the raw cosines: at both ends of the scale two that differ show the same number.
"""

from __future__ import annotations

import math


def clipped(score: float) -> float:
    """Return ``score`` on the scale; a value that is no number counts as a stranger's."""
    return min(1.0, max(0.0, score)) if math.isfinite(score) else float(score == math.inf)


def words(score: float | None) -> str:
    """Return a likeness as it is shown: two digits, ``-`` for None. Numbers of older files may lie outside the
    scale."""
    return "-" if score is None else f"{clipped(score):.2f}"


def cosine_words(cosine: float, digits: int = 3) -> str:
    """Return a raw cosine as it is shown; never ``-0.000``."""
    return f"{rounded(cosine, digits):.{digits}f}"


def rounded(value: float, digits: int) -> float:
    """Return ``value`` rounded to ``digits`` after the point; never -0.0."""
    return round(float(value), digits) + 0.0
