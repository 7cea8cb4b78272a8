"""Runs the phases of a training one after another: this is the child's work from beginning to end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from easyphoto.errors import Cancelled
from easyphoto.events import Listener
from easyphoto.training.phase import Phase, Stop, Training
from easyphoto.training.phases import PHASES, asked_for
from easyphoto.training.spec import TrainingResult, TrainingSpec

__all__ = ["PHASES", "asked_for", "check", "run"]
_log = logging.getLogger(__name__)


def run(
    spec: TrainingSpec, folder: Path, emit: Listener, stop: Stop, phases: Sequence[Phase] = PHASES
) -> TrainingResult:
    """Train as ``spec`` says, in the job ``folder``, and return what the last phase made.

    Raises errors of ``easyphoto.errors``. When ``stop`` says that the training shall end, every phase that has begun
    puts in order what shall stay, the last one first, and :class:`Cancelled` is raised.
    """
    from easyphoto.vision import registry

    check(phases)
    vision = registry.create(spec.models, commercial_only=spec.commercial_only)
    leaves = tuple(name for phase in phases for name in phase.leaves)
    training = Training(spec, folder, vision, emit, stop, leaves)
    begun: list[Phase] = []
    try:
        for phase in phases:
            _log.info("phase %s", phase.name)
            begun.append(phase)
            phase.run(training)
    except Cancelled:
        for phase in reversed(begun):
            phase.leave(training)
        raise
    return training[TrainingResult]


def check(phases: Sequence[Phase]) -> None:
    """Raise ValueError if two phases have one name, if a phase needs what no phase before it makes, or if no phase
    makes the result. A mistake in the list is thus found before the first photo is read."""
    made: set[type] = set()
    names: set[str] = set()
    for phase in phases:
        if phase.name in names:
            raise ValueError(f"two phases are called {phase.name}")
        missing = [kind.__name__ for kind in phase.needs if kind not in made]
        if missing:
            raise ValueError(f"the phase {phase.name} needs {', '.join(missing)}, which no phase before it makes")
        names.add(phase.name)
        made.update(phase.makes)
    if TrainingResult not in made:
        raise ValueError("no phase makes the result of the training")
