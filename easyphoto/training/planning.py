"""Says what one training is about to do, and how long the rest of it will take."""

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
"""The most checkpoints that go into the fusion: the best ones."""


@dataclass(frozen=True)
class TrainingPlan:
    """The training does ``steps`` steps of the optimiser on ``photos``, and saves a checkpoint at each of the steps
    ``saves``. Two trainings have the same ``fingerprint`` if one of them can go on from the state of the other."""

    photos: tuple[str, ...]
    steps: int
    saves: tuple[int, ...]
    validated: bool
    fusion: str
    fingerprint: str

    @property
    def validations(self) -> int:
        """How often the templates are rendered. The base model and the fusion are counted."""
        if not self.validated:
            return 0
        candidates = min(len(self.saves), CANDIDATES)
        extra = {"greedy": candidates - 1, "average": 1 if candidates > 1 else 0}.get(self.fusion, 0)
        return 1 + len(self.saves) + extra


def make(spec: TrainingSpec, photos: Sequence[str], *, validated: bool) -> TrainingPlan:
    """Return the plan for a training on the pictures with these digests."""
    config = spec.config
    steps = config.steps(len(photos))
    every = config.val_and_checkpointing_steps
    saves = tuple(sorted({*range(every, steps + 1, every), steps}))
    settings: dict[str, Any] = {k: v for k, v in asdict(config).items() if k not in resume.FREE | resume.DEFAULTING}
    base: list[Any] = [spec.family.value, spec.checkpoint.name, families.spec(spec.family).learning.unet_layers]
    if any(spec.captions):
        base.append(list(spec.captions))
    named = json.dumps([settings, list(photos), *base], sort_keys=True)
    fingerprint = hashlib.sha256(named.encode()).hexdigest()[:16]
    return TrainingPlan(tuple(photos), steps, saves, validated, config.fusion, fingerprint)


class Clock:
    """Estimates how many seconds the training still takes, from how long its steps and validations took so far."""

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self._step = Pace()
        # few are made, so that each counts: whoever measures one leaves its warm-up out
        self._validation = Pace(warm_up=0, enough=1)
        self._validations = 0

    def stepped(self, seconds: float) -> None:
        """Take note that a step of the optimiser took so many seconds."""
        self._step.took(seconds)

    def validated(self, seconds: float) -> None:
        """Take note that a validation takes so many seconds once everything is loaded."""
        self._validations += 1
        self._validation.took(seconds)

    def left(self, step: int) -> float | None:
        """Return the seconds from the end of ``step`` to the end of the training, or None while too little is known."""
        seconds = self._step.seconds
        if seconds is None:
            return None
        renders = max(self._plan.validations - self._validations, 0) * (self._validation.seconds or 0.0)
        return (self._plan.steps - step) * seconds + renders
