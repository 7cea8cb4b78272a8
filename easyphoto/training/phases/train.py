"""The train phase: it does the steps, saves and validates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from easyphoto.errors import Cancelled
from easyphoto.events import Progress, Validated
from easyphoto.messages import Message
from easyphoto.storage import earlier
from easyphoto.storage.folders import SCORES, STATE, VALIDATION, WEIGHTS
from easyphoto.training import handover, labels, loop, plateau, state, validation
from easyphoto.training.loop import Trainer
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases.encode import Encoded
from easyphoto.training.phases.look import Looked
from easyphoto.training.standing import TrainingStanding
from easyphoto.training.state import Score, TrainState
from easyphoto.training.validation import Validator


@dataclass(frozen=True, eq=False)
class Trained:
    """The LoRA in the base model, what trains it, and how far the training has come. It is there from before the first
    step on, and ``standing.step`` says which step was the last."""

    lora: TrainedLora
    trainer: Trainer
    standing: TrainingStanding


class TrainPhase(Phase):
    """Does the steps. Every so many steps it saves a checkpoint and validates it, and ends if the likeness has stopped
    rising.

    It leaves the checkpoints, the state after the last of them, the scores and the pictures of the validation. A
    resumed training goes on after the last saved step, and does the later steps again. A cancelled training saves its
    last step, and leaves a usable person if there was none.
    """

    name = "train"
    needs = (Looked, Encoded)
    makes = (Trained,)
    leaves = (SCORES, STATE, WEIGHTS, VALIDATION)

    def run(self, training: Training) -> None:
        plan, before = training[Looked].plan, training[Looked].earlier
        trained = training.put(_begin(training))
        standing = trained.standing
        if before is not None:
            _restore(training, trained, before)
        if not standing.scores:
            with trained.lora.silent():
                _validate(training, 0)
        elif standing.step in plan.saves and standing.step not in standing.scores:
            _validate(training, standing.step)
        if _learned(training):
            return
        for number, loss, seconds in _timed_steps(training, trained.trainer):
            standing.stepped(number, seconds)
            left = standing.seconds_left()
            training.emit(Progress(stage="train", step=number, total=plan.steps, loss=loss, seconds_left=left))
            if number in plan.saves:
                _save(training)
                _validate(training, number)
                if _learned(training):
                    return
        if standing.step < plan.steps:
            raise Cancelled("The training was stopped.")

    def leave(self, training: Training) -> None:
        """Save the last step. If there is no whole LoRA of the person, that of this step becomes it."""
        trained = training.get(Trained)
        if trained is None or trained.standing.step == 0:
            return
        standing, spec = trained.standing, training.spec
        path = state.checkpoint_path(training.folder, standing.step)
        if not path.is_file():
            _save(training)
        if spec.lora_path.exists() and not handover.half_trained(spec):
            training.notice(
                Message("Stopped after step {step}: the earlier LoRA was left as it was.", step=standing.step)
            )
            return
        score = standing.scores.get(standing.step)
        works = score is not None and validation.works(score, standing.base)
        marks = {**labels.marks(spec, training[Looked].plan, standing, score, works=works), "cancelled": True}
        handover.essentials(spec, training.folder, path, marks)
        training.notice(Message("Stopped after step {step}: the LoRA of that step was kept.", step=standing.step))


def _begin(training: Training) -> Trained:
    looked, encoded = training[Looked], training[Encoded]
    config, selection = looked.fitted.config, looked.material.selection
    shape = LoraShape(config.rank, float(config.network_alpha))
    lora = TrainedLora(encoded.parts, shape, seed=config.seed, train_text=config.train_text_encoder)
    trainer = Trainer(encoded.parts, lora, encoded.latents, encoded.captions, config, encoded.accelerator)
    validator = None
    if looked.templates and selection is not None:
        validator = Validator(encoded.parts, training.vision, looked.templates, selection.embeddings, config.seed)
    return Trained(lora, trainer, TrainingStanding(training, looked.plan, validator))


def _restore(training: Training, trained: Trained, before: TrainState) -> None:
    trained.lora.restore(before.weights)
    trained.trainer.restore(before.optimizer, before.scaler)
    trained.standing.restore(before.step)
    training.notice(Message("The training goes on after step {step}.", step=before.step))


def _learned(training: Training) -> bool:
    """Return whether the likeness has stopped rising before the last step, and say so."""
    plan, standing = training[Looked].plan, training[Trained].standing
    best = plateau.learned(standing.scores, training.spec.config.patience)
    if best is None or not 0 < standing.step < plan.steps:
        return False
    training.notice(
        Message(
            "The training ended after step {step} of {steps}: the likeness has not risen since step {best}. With a "
            "patience of 0 it does all steps.",
            step=standing.step,
            steps=plan.steps,
            best=best.step,
        )
    )
    return True


def _timed_steps(training: Training, trainer: Trainer) -> Iterator[tuple[int, float, float]]:
    """Yield each step's number, loss and seconds."""
    first, last = training[Trained].standing.step + 1, training[Looked].plan.steps
    begin = time.monotonic()
    for number, loss in loop.steps(trainer, first, last, training.stop):
        yield number, loss, time.monotonic() - begin
        begin = time.monotonic()


def _save(training: Training) -> None:
    """Write the checkpoint and the state of this step. This comes before the validation, so that a crash in there loses
    no step."""
    plan, trained = training[Looked].plan, training[Trained]
    step = trained.standing.step
    path = state.checkpoint_path(training.folder, step)
    header = labels.lora_header(training.spec, plan, step, None)
    labels.write_lora(path, training.spec, trained.lora.layers(), header)
    now = TrainState(
        step=step,
        weights=trained.lora.state(),
        optimizer=trained.trainer.optimizer_state(),
        scaler=trained.trainer.scaler_state(),
        fingerprint=plan.fingerprint,
    )
    state.save_state(training.folder, now)
    # From here on this training can be resumed itself, and the one before it can't any more.
    earlier.forget(training.job)


def _validate(training: Training, step: int) -> None:
    standing = training[Trained].standing
    score = standing.validate(step)
    if score is not None:
        checkpoint = state.checkpoint_path(training.folder, step) if step else None
        training.emit(_validated(score, standing.embedder, checkpoint))


def _validated(score: Score, embedder: str, checkpoint: Path | None) -> Validated:
    return Validated(
        step=score.step,
        likeness=score.likeness,
        cosine=score.cosine,
        embedder=embedder,
        checkpoint="" if checkpoint is None else str(checkpoint),
        pictures=tuple(path for path in score.pictures if path),
    )
