"""How long a repeated thing takes, from how long it took: told only once it can be, and not fooled by a slow start."""

from __future__ import annotations

from collections import deque
from statistics import median

ENOUGH = 3
"""Times that must be known before anything is told."""
REMEMBERED = 25
"""The latest times that count, so that a machine that becomes busy is noticed."""


class Pace:
    """The usual time of one unit. The first ``warm_up`` times are left out: caches fill, kernels are chosen."""

    def __init__(self, warm_up: int = 1, enough: int = ENOUGH) -> None:
        self._ignore = warm_up
        self._enough = enough
        self._times: deque[float] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float) -> None:
        """One more unit is done."""
        if self._ignore > 0:
            self._ignore -= 1
        else:
            self._times.append(seconds)

    @property
    def seconds(self) -> float | None:
        """Seconds a unit, None while too few are known."""
        return median(self._times) if len(self._times) >= self._enough else None
