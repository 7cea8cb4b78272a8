"""Forgets the accelerator of a training that ran in the tests' own process."""

from __future__ import annotations

import sys


def forget() -> None:
    """Let the next training choose its precision anew, as it does in a process of its own.

    accelerate keeps the first accelerator's precision for the life of the process and refuses another one.
    """
    state = sys.modules.get("accelerate.state")
    if state is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()
