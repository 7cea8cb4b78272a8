"""What one training is about to do, and how long the rest of it will take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from easyphoto import families
from easyphoto.pace import Pace
from easyphoto.training import resume
from easyphoto.training.spec import TrainingSpec

CANDIDATES = 10
"""At most so many of the best checkpoints go into the fusion."""


@dataclass(frozen=True)
class TrainingPlan:
    """``steps`` of the optimiser on ``photos``; checkpoints at the steps ``saves``; ``fingerprint`` is equal for
    trainings of which one can go on where the other stopped."""

    photos: tuple[str, ...]
    steps: int
    saves: tuple[int, ...]
    validated: bool
    fusion: str
    fingerprint: str

    @property
    def validations(self) -> int:
        """How often the templates are rendered, the base model and the fusion with them."""
        if not self.validated:
            return 0
        candidates = min(len(self.saves), CANDIDATES)
        extra = {"greedy": candidates - 1, "average": 1 if candidates > 1 else 0}.get(self.fusion, 0)
        return 1 + len(self.saves) + extra


def make(spec: TrainingSpec, photos: Sequence[str], *, validated: bool) -> TrainingPlan:
    """The plan for training on the pictures with these digests."""
    config = spec.config
    steps = config.steps(len(photos))
    every = config.val_and_checkpointing_steps
    saves = tuple(sorted({*range(every, steps + 1, every), steps}))
    settings: dict[str, Any] = {k: v for k, v in asdict(config).items() if k not in resume.FREE}
    base: list[Any] = [spec.family.value, spec.checkpoint.name, families.spec(spec.family).learning.unet_layers]
    if any(spec.captions):
        base.append(list(spec.captions))
    named = json.dumps([settings, list(photos), *base], sort_keys=True)
    fingerprint = hashlib.sha256(named.encode()).hexdigest()[:16]
    return TrainingPlan(tuple(photos), steps, saves, validated, config.fusion, fingerprint)


class Clock:
    """Tells how many seconds the training still takes, from how long its steps and validations took so far."""

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self._step = Pace()
        # few are made, so that each counts: whoever measures one leaves its warm-up out
        self._validation = Pace(warm_up=0, enough=1)
        self._validations = 0

    def stepped(self, seconds: float) -> None:
        """A step of the optimiser took so long."""
        self._step.took(seconds)

    def validated(self, seconds: float) -> None:
        """A validation takes so long, once everything is loaded."""
        self._validations += 1
        self._validation.took(seconds)

    def left(self, step: int) -> float | None:
        """Seconds from the end of ``step`` on; None while too little is known."""
        seconds = self._step.seconds
        if seconds is None:
            return None
        renders = max(self._plan.validations - self._validations, 0) * (self._validation.seconds or 0.0)
        return (self._plan.steps - step) * seconds + renders
