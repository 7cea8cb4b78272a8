"""Waiting for what others do meanwhile: threads, programs and jobs."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Return as soon as the condition holds. It fails the test if it doesn't within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing came of it in {seconds:g} s"
        time.sleep(0.01)
