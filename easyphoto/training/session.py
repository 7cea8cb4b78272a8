"""The steps of one training, with what is saved, validated and said along the way, and the fusion at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from easyphoto import families, likeness
from easyphoto.errors import Cancelled
from easyphoto.events import Fused, Listener, Notice, Progress, Validated
from easyphoto.messages import Message
from easyphoto.pace import Warm
from easyphoto.sd import lora as lora_files
from easyphoto.storage import earlier
from easyphoto.storage.folders import FUSED, VALIDATION, JobFolder, PersonFolder
from easyphoto.training import fusion, loop, planning, prepare, publish, state, validation
from easyphoto.training.lora import TrainedLora
from easyphoto.training.planning import Clock, TrainingPlan
from easyphoto.training.prepare import Stop
from easyphoto.training.spec import TrainingResult, TrainingSpec
from easyphoto.training.state import Score


class Session:
    """The steps of one training, with what is saved and said along the way."""

    def __init__(
        self,
        spec: TrainingSpec,
        folder: Path,
        plan: TrainingPlan,
        engine: tuple[TrainedLora, loop.Trainer, validation.Validator | None],
        emit: Listener,
        stop: Stop,
    ) -> None:
        self._spec, self._folder, self._plan = spec, folder, plan
        self._lora, self._trainer, self._validator = engine
        self._emit, self._stop = emit, stop
        self._clock = Clock(plan)
        self._scores: dict[int, Score] = {}
        self._step = 0
        self._picture_lost = False

    def restore(self, earlier: state.TrainState) -> None:
        """Go on where an earlier training was saved."""
        self._lora.restore(earlier.weights)
        self._trainer.restore(earlier.optimizer, earlier.scaler)
        self._step = earlier.step
        self._scores = self._own(state.load_scores(self._folder))
        self._emit(Notice(message=Message("The training goes on after step {step}.", step=earlier.step)))

    def _own(self, scores: dict[int, Score]) -> dict[int, Score]:
        """Those of the embedder that scores now: a checkpoint is never ranked by another's numbers."""
        embedder = "" if self._validator is None else self._validator.embedder
        own = validation.measured_by(embedder, scores)
        if len(own) < len(scores):
            self._emit(
                Notice(
                    message=Message(
                        "Earlier scores are left out: likeness is now measured with {embedder}.", embedder=embedder
                    )
                )
            )
        return own

    def train(self) -> None:
        """The steps that are left. Raises :class:`Cancelled`, with everything saved."""
        try:
            if not self._scores:
                with self._lora.silent():
                    self._validate(0)
            elif self._step in self._plan.saves and self._step not in self._scores:
                self._validate(self._step)
            for number, loss, seconds in self._timed_steps():
                self._step = number
                self._clock.stepped(seconds)
                self._progress(loss)
                if number in self._plan.saves:
                    self._save()
                    self._validate(number)
            if self._step < self._plan.steps:
                raise Cancelled("The training was stopped.")
        except Cancelled:
            self._leave()
            raise

    def finish(self) -> TrainingResult:
        """Fuse, put everything in place, and say what came of it."""
        fused, score = self._fuse()
        base = self._scores.get(0)
        ok = score is None or validation.works(score, base)
        scored = [*validation.ranked(self._scores), *([score] if score else [])]
        best = validation.best_picture(scored)
        marks = self._marks(score, ok)
        path = self._folder / FUSED
        self._write(path, fused, self._plan.steps, score)
        face_id = publish.everything(self._spec, self._folder, path, best, marks)
        path.unlink()
        if not ok and score is not None:
            self._emit(
                Notice(
                    message=Message(
                        "The training did not work: the likeness is {words} ({works_from} at least) and "
                        "training did not raise it. Try other photos or more steps.",
                        words=likeness.words(score.likeness),
                        works_from=validation.WORKS_FROM,
                    )
                )
            )
        publish.clear(self._folder)
        return TrainingResult(
            lora=self._spec.lora_path,
            reference=PersonFolder(self._spec.person_folder).reference,
            face_id=face_id,
            works=ok,
            steps=self._plan.steps,
            likeness=None if score is None else score.likeness,
            cosine=None if score is None else score.cosine,
            embedder="" if self._validator is None else self._validator.embedder,
        )

    # --- steps -------------------------------------------------------------------------------------------------------

    def _timed_steps(self) -> Iterator[tuple[int, float, float]]:
        begin = time.monotonic()
        for number, loss in loop.steps(self._trainer, self._step + 1, self._plan.steps, self._stop):
            yield number, loss, time.monotonic() - begin
            begin = time.monotonic()

    def _progress(self, loss: float) -> None:
        left = self._clock.left(self._step)
        self._emit(Progress(stage="train", step=self._step, total=self._plan.steps, loss=loss, seconds_left=left))

    def _save(self) -> None:
        """The checkpoint and the state of this step. Before validation, so that a crash there loses no step."""
        self._write(state.checkpoint_path(self._folder, self._step), self._lora.layers(), self._step, None)
        now = state.TrainState(
            step=self._step,
            weights=self._lora.state(),
            optimizer=self._trainer.optimizer_state(),
            scaler=self._trainer.scaler_state(),
            fingerprint=self._plan.fingerprint,
        )
        state.save_state(self._folder, now)
        # From here on this training can be resumed itself, and the one before it can't any more.
        earlier.forget(JobFolder(self._folder))

    def _validate(self, step: int) -> None:
        if self._validator is None:
            return
        score = self._render(step, f"step-{step}", "validate")
        self._scores[step] = score
        state.save_scores(self._folder, self._scores)
        path = str(state.checkpoint_path(self._folder, step)) if step else ""
        self._emit(self._validated(score, path))

    def _render(self, step: int, name: str, stage: str) -> Score:
        """Score what the model holds now, telling of every step of the sampler and stopping at one when asked."""
        assert self._validator is not None

        watch = Warm()

        def told(done: int, total: int) -> None:
            watch.stepped()
            if self._stop():
                raise Cancelled("The training was stopped.")
            left = self._clock.left(self._step)
            self._emit(Progress(stage=stage, step=done, total=total, message=name, seconds_left=left))

        score = self._validator.score(step, self._folder / VALIDATION, name, told)
        self._clock.validated(watch.seconds())
        if "" in score.pictures and not self._picture_lost:
            self._picture_lost = True
            self._emit(Notice(message=Message("Pictures of the validation can't be written and are left out.")))
        return score

    def _validated(self, score: Score, checkpoint: str) -> Validated:
        assert self._validator is not None
        return Validated(
            step=score.step,
            likeness=score.likeness,
            cosine=score.cosine,
            embedder=self._validator.embedder,
            checkpoint=checkpoint,
            pictures=tuple(path for path in score.pictures if path),
        )

    def _leave(self) -> None:
        """A cancelled training leaves its last step as a checkpoint, and a usable person where there was none."""
        if self._step == 0:
            return
        path = state.checkpoint_path(self._folder, self._step)
        if not path.is_file():
            self._save()
        if self._spec.lora_path.exists() and not publish.half_trained(self._spec):
            self._emit(
                Notice(
                    message=Message("Stopped after step {step}: the earlier LoRA was left as it was.", step=self._step)
                )
            )
            return
        score = self._scores.get(self._step)
        ok = score is not None and validation.works(score, self._scores.get(0))
        publish.essentials(self._spec, self._folder, path, {**self._marks(score, ok), "cancelled": True})
        self._emit(
            Notice(message=Message("Stopped after step {step}: the LoRA of that step was kept.", step=self._step))
        )

    # --- fusion ------------------------------------------------------------------------------------------------------

    def _fuse(self) -> tuple[dict[str, lora_files.LoraLayer], Score | None]:
        """The LoRA of the person and its score. Raises :class:`Cancelled`."""
        try:
            layers, members, score = self._chosen()
        except Cancelled:
            self._leave()
            raise
        self._emit(
            Fused(
                method=self._plan.fusion if self._scores else "last",
                steps=members,
                likeness=None if score is None else score.likeness,
                lora=str(self._spec.lora_path),
            )
        )
        return layers, score

    def _chosen(self) -> tuple[dict[str, lora_files.LoraLayer], tuple[int, ...], Score | None]:
        last = self._plan.steps
        method = self._plan.fusion
        candidates = validation.ranked(self._scores)[: planning.CANDIDATES]
        if not candidates or method == "last":
            return self._read(last), (last,), self._scores.get(last)
        shape = (self._lora.shape.rank, self._lora.shape.alpha)
        seen: list[Score] = []

        def score(layers: lora_files.Layers) -> float:
            with self._lora.holding(layers):
                seen.append(self._render(last, f"fused-{len(seen)}", "fuse"))
            return seen[-1].cosine

        steps = [c.step for c in candidates]
        if method == "average" and len(steps) > 1:
            layers = fusion.mean([self._read(s) for s in steps], *shape)
            score(layers)
            return layers, tuple(steps), seen[-1]
        if method == "best" or len(steps) == 1:
            return self._read(steps[0]), (steps[0],), candidates[0]
        soup = fusion.greedy(len(steps), lambda i: self._read(steps[i]), score, candidates[0].cosine, shape)
        kept = next((s for s in seen if s.cosine == soup.score), candidates[0])
        return soup.lora, tuple(steps[i] for i in soup.members), kept

    def _read(self, step: int) -> dict[str, lora_files.LoraLayer]:
        return lora_files.read(state.checkpoint_path(self._folder, step)).layers

    # --- files -------------------------------------------------------------------------------------------------------

    def _write(self, path: Path, layers: lora_files.Layers, step: int, score: Score | None) -> None:
        config, header = self._spec.config, families.spec(self._spec.family).header
        like = "not validated"
        if score is not None:
            like = f"likeness {likeness.words(score.likeness)} (cosine {likeness.cosine_words(score.cosine)})"
        extra = {
            "ss_output_name": self._spec.user_id,
            "ss_steps": str(step),
            "ss_max_train_steps": str(self._plan.steps),
            "ss_learning_rate": f"{config.learning_rate:g}",
            "ss_seed": str(config.seed),
            "ss_resolution": f"({config.resolution}, {config.resolution})",
            "ss_num_train_images": str(len(self._plan.photos)),
            "ss_sd_model_name": self._spec.checkpoint.name,
            "ss_training_comment": f"EasyPhoto: {like}",
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.title": self._spec.user_id,
            "modelspec.architecture": f"{header.architecture or self._spec.family}/lora",
            "modelspec.trigger_phrase": prepare.caption(self._spec),
        }
        if config.is_scene:
            extra |= {"ep_lora_version": "scene", "ep_prompt": config.training_prefix_prompt}
        lora_files.write(path, layers, lora_files.metadata(self._spec.family, layers, extra))

    def _marks(self, score: Score | None, ok: bool) -> dict[str, Any]:
        config = self._spec.config
        base = self._scores.get(0)
        return {
            "family": self._spec.family.value,
            "base_model": self._spec.checkpoint.name,
            "likeness": None if score is None else score.likeness,
            "cosine": None if score is None else score.cosine,
            "likeness_without_lora": None if base is None else base.likeness,
            "embedder": "" if self._validator is None else self._validator.embedder,
            "works": ok,
            "steps": self._step,
            "planned": self._plan.steps,
            "rank": config.rank,
            "alpha": config.network_alpha,
            "scene": config.is_scene,
            "prompt": config.training_prefix_prompt if config.is_scene else "",
        }
