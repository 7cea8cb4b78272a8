"""How long something that is repeated takes, from how long it took. Nothing is said too early, and a slow start
misleads nobody."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

ENOUGH = 3
"""How many times must be known before anything is said."""
REMEMBERED = 25
"""How many of the latest times count, so that a machine that becomes busy is noticed."""


class Pace:
    """The usual time of one unit. The first ``warm_up`` times are left out, because caches fill and kernels are chosen
    then."""

    def __init__(self, warm_up: int = 1, enough: int = ENOUGH) -> None:
        self._ignore = warm_up
        self._enough = enough
        self._times: deque[float] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float) -> None:
        """Note that one more unit is done."""
        if self._ignore > 0:
            self._ignore -= 1
        else:
            self._times.append(seconds)

    @property
    def seconds(self) -> float | None:
        """Return the seconds that a unit takes, None while too few are known."""
        return median(self._times) if len(self._times) >= self._enough else None


class Warm:
    """Measures one task of several steps as it will take when it comes again: what happens before its first step is
    over, loading and the choice of kernels, counts as one usual step."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._first: float | None = None
        self._steps = 0

    def stepped(self) -> None:
        """Note that one step of the task is done."""
        self._steps += 1
        if self._first is None:
            self._first = self._clock()

    def seconds(self) -> float:
        """Return how many seconds the task takes, once it is over; with less than two steps, how long it took."""
        if self._first is None or self._steps < 2:
            return self._clock() - self._begin
        return (self._clock() - self._first) * self._steps / (self._steps - 1)
