"""Keeps how far a training has come: its last step, the score of each checkpoint, and how long the rest takes."""

from __future__ import annotations

from easyphoto.events import Progress
from easyphoto.messages import Message
from easyphoto.pace import Warm
from easyphoto.storage.folders import VALIDATION
from easyphoto.training import planning, state, validation
from easyphoto.training.phase import Training
from easyphoto.training.planning import Clock, TrainingPlan
from easyphoto.training.state import Score
from easyphoto.training.validation import Validator


class TrainingStanding:
    """How far one training has come. If there is no validator, nothing is ever scored."""

    def __init__(self, training: Training, plan: TrainingPlan, validator: Validator | None) -> None:
        self.step = 0
        """The last step that was done."""
        self.scores: dict[int, Score] = {}
        """What validation said of the checkpoint of each step; 0 is the base model without the LoRA."""
        self._training, self._validator = training, validator
        self._clock = Clock(plan)
        self._picture_lost = False

    @property
    def embedder(self) -> str:
        """The embedder that measures the scores. It is empty if nothing is validated."""
        return "" if self._validator is None else self._validator.embedder

    @property
    def base(self) -> Score | None:
        """The score of the base model without the LoRA."""
        return self.scores.get(0)

    def restore(self, step: int) -> None:
        """Go on after ``step``, with the scores that were written down.

        The scores of another embedder are left out: a checkpoint is never ranked by another embedder's numbers.
        """
        self.step = step
        found = state.load_scores(self._training.folder)
        self.scores = validation.measured_by(self.embedder, found)
        if len(self.scores) < len(found):
            self._training.notice(
                Message(
                    "Earlier scores are left out: likeness is now measured with {embedder}.", embedder=self.embedder
                )
            )

    def stepped(self, number: int, seconds: float) -> None:
        """Take note that step ``number`` is done and took so many seconds."""
        self.step = number
        self._clock.stepped(seconds)

    def seconds_left(self) -> float | None:
        """Return how many seconds the training still takes, or None while too little is known."""
        return self._clock.left(self.step)

    def candidates(self) -> list[Score]:
        """Return the scores of the checkpoints that may go into the fusion, the most alike first."""
        return validation.ranked(self.scores)[: planning.CANDIDATES]

    def validate(self, step: int) -> Score | None:
        """Score what the model holds now as the checkpoint of ``step``, write the score down and return it. Return None
        if there is no validator. Raises :class:`Cancelled` within a step of the sampler."""
        if self._validator is None:
            return None
        score = self.scores[step] = self.measure(step, f"step-{step}", "validate")
        state.save_scores(self._training.folder, self.scores)
        return score

    def measure(self, step: int, name: str, stage: str) -> Score:
        """Score what the model holds now and return the score, which is not written down. Each step of the sampler is
        told as progress of ``stage``, and the pictures are kept under ``name``. Raises :class:`Cancelled` within a step
        of the sampler."""
        assert self._validator is not None, "there are no scores without a validator"
        training, watch = self._training, Warm()

        def on_step(done: int, total: int) -> None:
            watch.stepped()
            training.end_if_asked()
            left = self.seconds_left()
            training.emit(Progress(stage=stage, step=done, total=total, message=name, seconds_left=left))

        score = self._validator.score(step, training.folder / VALIDATION, name, on_step)
        self._clock.validated(watch.seconds())
        if "" in score.pictures and not self._picture_lost:
            self._picture_lost = True
            training.notice(Message("Pictures of the validation can't be written and are left out."))
        return score
