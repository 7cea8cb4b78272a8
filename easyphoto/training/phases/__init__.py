"""The phases of a training, in their order, each in a file of its own.

A phase of your own is a subclass of :class:`easyphoto.training.phase.Phase`. ``inserted(Mine(), before="fuse")`` gives
you a list that has it, which ``pipeline.run`` and ``worker.main`` take. A phase of the package has its place in
:data:`PHASES`, or in :func:`asked_for` if only some trainings have it.
"""

from __future__ import annotations

from collections.abc import Sequence

from easyphoto.config import TrainConfig
from easyphoto.training.phase import Phase
from easyphoto.training.phases.crop import CropPhase
from easyphoto.training.phases.encode import EncodePhase
from easyphoto.training.phases.fuse import FusePhase
from easyphoto.training.phases.look import LookPhase
from easyphoto.training.phases.publish import PublishPhase
from easyphoto.training.phases.reward import RewardPhase
from easyphoto.training.phases.train import TrainPhase

__all__ = ["PHASES", "asked_for", "inserted"]

PHASES: tuple[Phase, ...] = (LookPhase(), CropPhase(), EncodePhase(), TrainPhase(), FusePhase(), PublishPhase())
"""The phases that every training has."""


def asked_for(config: TrainConfig) -> tuple[Phase, ...]:
    """Return the phases of a training with these options. The reward adds to what the fusion made."""
    return inserted(RewardPhase(), before="publish") if config.enable_rl else PHASES


def inserted(phase: Phase, *, before: str, phases: Sequence[Phase] = PHASES) -> tuple[Phase, ...]:
    """Return the ``phases`` with one more, which runs just before the phase of that name. Raises ValueError if there is
    none."""
    place = [other.name for other in phases].index(before)
    return (*phases[:place], phase, *phases[place:])
