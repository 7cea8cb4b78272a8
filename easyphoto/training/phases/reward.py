"""The reward phase: it teaches likeness itself to a small LoRA of its own, and keeps that only if it proves to help."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from easyphoto import families, pictures, reporting
from easyphoto.errors import AssetMissing, Cancelled, StorageFailed, reason
from easyphoto.events import Progress, Validated
from easyphoto.likeness import rounded
from easyphoto.messages import Message
from easyphoto.pace import Pace
from easyphoto.ports import FaceEmbedder, GradientEmbedder, Image, OnStep
from easyphoto.reporting import FaceReporter
from easyphoto.sd import sampling
from easyphoto.sd.lora import Layers
from easyphoto.storage.folders import VALIDATION, reward_name
from easyphoto.training import hardware, labels, likeness_report, rewarder, validation
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases.encode import Encoded
from easyphoto.training.phases.fuse import FusedLora
from easyphoto.training.phases.look import Looked
from easyphoto.training.phases.train import Trained
from easyphoto.training.reward_gate import GateVerdict, GateWitness, decide
from easyphoto.training.reward_lora import RewardLora
from easyphoto.training.rewarder import Canvas, Rewarder
from easyphoto.training.validation import ValidationTemplate, Validator

if TYPE_CHECKING:
    from easyphoto.training.crops import Selection

log = logging.getLogger(__name__)

STAGE = "reward"
LEAST_PHOTOS = 3
LEAST_RESERVED, MOST_RESERVED = 3, 6
"""How many templates the gate keeps for itself. With fewer than the first no gain could be told from chance."""
MOST_REWARDED = 8
ENOUGH_REWARDED = 4
"""With fewer templates than this the faces are painted into the person's photos too."""
GATE_SEEDS = 2
LOOK_EVERY = 10
"""After so many steps the judge looks at the validation templates."""
PATIENCE = 2
"""After so many looks without a gain the reward ends."""
SAVE_EVERY = 5


class RewardPhase(Phase):
    """Takes steps on a small LoRA beside the person's, whose reward is the likeness by the judge's own network, and
    lets the reporter decide whether it is kept.

    It comes after the fusion, because it adds to the very LoRA that the person gets. It leaves its state every few
    steps and goes on from there; only the gate is passed again. If the person's LoRA became another one meanwhile, it
    starts anew.
    """

    name = "reward"
    needs = (Looked, Encoded, Trained, FusedLora)

    def run(self, training: Training) -> None:
        why = _hindrance(training)
        if why:
            _refuse(training, {}, why)
            return
        try:
            RewardWork(training, training.own(self)).run()
        except Cancelled:
            raise
        # Whatever breaks here, the memory even, is not worth the LoRA that was trained. The log has all of it.
        except Exception as error:
            log.warning("the reward was left out", exc_info=True)
            _refuse(training, {}, Message("it broke off ({reason})", reason=reason(error)))


def _hindrance(training: Training) -> str:
    """Return one sentence on why there can be no reward here, or "". It is known before any time is spent."""
    looked, vision = training[Looked], training.vision
    selection = looked.material.selection
    if selection is None:
        return Message("a scene has no likeness")
    if not looked.templates:
        return Message("it needs the validation")
    if not has_gradient(vision.embedder):
        return Message("no gradient goes through the judge {judge}", judge=vision.embedder.name)
    if reporting.of(vision) is None:
        return Message("without a reporter no gain counts as proven; 'models fetch reporter' brings one")
    if len(selection.training) < LEAST_PHOTOS:
        return Message("it needs at least {count} photos to train on", count=LEAST_PHOTOS)
    return ""


def has_gradient(judge: FaceEmbedder) -> bool:
    """Return whether a gradient goes through the judge's network. Some find out only when they read their file."""
    if not isinstance(judge, GradientEmbedder):
        return False
    try:
        judge.embed_pixels(torch.zeros(1, 3, judge.chip_side, judge.chip_side))
    except AssetMissing as error:
        log.warning("%s", error)
        return False
    return True


def _told(value: float | None) -> float | None:
    return None if value is None else rounded(value, 4)


def _refuse(training: Training, marks: dict[str, Any], why: str) -> None:
    vision = training.vision
    reporter = reporting.of(vision)
    plain = {"accepted": False, "gain": None, "interval": None, "minutes": 0.0, "judge": vision.embedder.name}
    told = {"reporter": None if reporter is None else reporter.name, "why": str(why)}
    training.marks[STAGE] = plain | told | marks
    training.notice(Message("The reward was left out, and the LoRA stays as it was: {why}.", why=why))


@dataclass
class RewardState:
    """What the reward goes on from: the steps that are done, the LoRA and its optimiser, the seconds that it took, and
    what the judge said at which step. ``best`` is the LoRA that the judge liked most. ``of`` says on which LoRA of the
    person, and how, it was learned."""

    of: str
    step: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def spent(self) -> bool:
        """Whether the last looks of the judge brought nothing any more."""
        values = [cosine for _, cosine in self.curve]
        return len(values) > PATIENCE and max(values[-PATIENCE:]) <= max(values[:-PATIENCE])

    def save(self, path: Path) -> None:
        """Write the state. Raises ``StorageFailed``."""
        buffer = io.BytesIO()
        torch.save(vars(self), buffer)
        pictures.write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, of: str) -> RewardState:
        """Read the state, or begin anew where there is none that was learned on the same LoRA."""
        try:
            found = cls(**torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, TypeError, ValueError, EOFError, pickle.PickleError, zipfile.BadZipFile):
            return cls(of)
        return found if found.of == of else cls(of)


class RewardWork:
    """The reward of one training."""

    def __init__(self, training: Training, folder: Path) -> None:
        judge, reporter = training.vision.embedder, reporting.of(training.vision)
        selection = training[Looked].material.selection
        assert isinstance(judge, GradientEmbedder) and reporter is not None and selection is not None
        self._training, self._folder = training, folder
        self._judge: GradientEmbedder = judge
        self._reporter: FaceReporter = reporter
        self._selection: Selection = selection
        self._parts = training[Encoded].parts
        self._config = training[Trained].trainer.config
        self._pace, self._look_pace = Pace(), Pace(warm_up=0, enough=1)
        self._state = RewardState.load(folder / "state.pt", self._fingerprint())
        self._begun = time.monotonic() - self._state.seconds

    def run(self) -> None:
        training, trained = self._training, self._training[Trained]
        rewarded, reserved = self._templates()
        if len(reserved) < LEAST_RESERVED:
            count = len(training[Looked].templates) + LEAST_RESERVED
            there = len(training[Looked].templates) + len(reserved)
            why = Message("it needs {count} templates with a face, and {there} are there", count=count, there=there)
            _refuse(training, {}, why)
            return
        with (
            trained.lora.holding(training[FusedLora].layers),
            RewardLora(self._parts, trained.lora, self._config.seed) as lora,
        ):
            self._learn(lora, rewarded)
            verdict = self._gate(lora, reserved)
            layers = lora.layers()
        self._settle(verdict, layers)

    # --- what it works on --------------------------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        """Says on which LoRA and how the reward learns; how long it may take doesn't count."""
        digest = hashlib.sha256(f"{self._config.timestep_fraction}/{self._config.seed}".encode())
        for name, layer in sorted(self._training[FusedLora].layers.items()):
            digest.update(name.encode())
            for tensor in (layer.down, layer.up):
                digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _templates(self) -> tuple[list[ValidationTemplate], list[ValidationTemplate]]:
        """The templates for the reward and those for the gate. Neither are those of the validation, which chose the
        LoRA and chooses the step."""
        spec, validated = self._training.spec, self._training[Looked].templates
        ratio = families.spec(spec.family).learning.crop_ratio
        paths = spec.validation_templates or validation.packaged()
        most = len(validated) + MOST_RESERVED + MOST_REWARDED
        found = validation.prepare(paths, self._training.vision, self._config.resolution, ratio, most)
        rest = found[len(validated) :]
        count = min(MOST_RESERVED, max(LEAST_RESERVED, len(rest) // 2))
        return rest[count:], rest[:count]

    def _canvases(self, rewarded: Sequence[ValidationTemplate]) -> tuple[list[Canvas], list[Canvas]]:
        """The pictures that faces are painted into, and those of the person's photos."""
        training, spec = self._training, self._training.spec
        ratio = families.spec(spec.family).learning.crop_ratio
        photos: list[Canvas] = []
        for place, photo in enumerate(self._selection.training):
            image, face = likeness_report.photo_face(training, photo)
            one = validation.around(image, face, training.vision, ratio, self._config.resolution, photo.name)
            photos.append(self._canvas(one, place))
        painted = [self._canvas(one, None) for one in rewarded]
        return painted + (photos if len(painted) < ENOUGH_REWARDED else []), photos

    def _canvas(self, template: ValidationTemplate, shown: int | None) -> Canvas:
        self._training.end_if_asked()
        return rewarder.canvas(self._parts, template, self._judge, shown)

    # --- learning ----------------------------------------------------------------------------------------------------

    def _learn(self, lora: RewardLora, rewarded: Sequence[ValidationTemplate]) -> None:
        state, trained = self._state, self._training[Trained]
        canvases, photos = self._canvases(rewarded)
        with torch.no_grad():
            shown = [(sampling.decode(self._parts, photo.clean), photo.place) for photo in photos]
        # The training's own accelerator counts its accumulated passes; a step of the reward is one pass.
        one_pass = replace(self._config, gradient_accumulation_steps=1)
        accelerator = hardware.accelerator(one_pass, self._parts.device)
        aim = rewarder.aim(self._judge, shown)
        work = Rewarder(self._parts, lora, trained.trainer, canvases, aim, self._judge, accelerator)
        if state.weights:
            lora.restore(state.weights)
            work.restore(state.optimizer)
        else:
            state.weights = lora.state()
        if not state.curve:
            self._look(lora, 0)
        while state.step < self._config.max_rl_steps and not state.spent and not self._late():
            self._training.end_if_asked()
            begin, number = time.monotonic(), state.step + 1
            done = work.step(number)
            state.step = number
            self._pace.took(time.monotonic() - begin)
            self._tell(number, self._config.max_rl_steps, loss=done.loss)
            looks = number % LOOK_EVERY == 0 or number == self._config.max_rl_steps
            if looks:
                self._look(lora, number)
            if looks or number % SAVE_EVERY == 0:
                state.weights, state.optimizer = lora.state(), work.optimizer_state()
                state.seconds = time.monotonic() - self._begun
                state.save(self._folder / "state.pt")
        if state.best:
            lora.restore(state.best)

    def _look(self, lora: RewardLora, step: int) -> None:
        """Let the judge look at the validation templates, and remember the LoRA if it likes it best."""
        state = self._state
        begin, seed = time.monotonic(), self._config.seed
        looked = self._training[Looked]
        validator = Validator(self._parts, self._training.vision, looked.templates, self._selection.embeddings, seed)
        name, watch = f"reward-{step}", self._watching(Message("step {step}", step=step))
        score = validator.score(step, self._training.folder / VALIDATION, name, watch)
        if not state.curve or score.cosine > max(value for _, value in state.curve):
            state.best = lora.state()
        state.curve.append((step, rounded(score.cosine, 4)))
        self._training.emit(
            Validated(
                step=looked.plan.steps + step,  # the curve goes on where that of the training ends
                likeness=score.likeness,
                cosine=score.cosine,
                embedder=self._judge.name,
                pictures=tuple(path for path in score.pictures if path),
            )
        )
        self._look_pace.took(time.monotonic() - begin)

    def _late(self) -> bool:
        return time.monotonic() - self._begun > self._config.max_rl_time * 3600

    def _seconds_left(self) -> float | None:
        """The seconds until the gate has decided, or None while too little is known."""
        step, look = self._pace.seconds, self._look_pace.seconds
        if step is None or look is None:
            return None
        rest = self._config.max_rl_steps - self._state.step
        steps = min(rest * step, max(0.0, self._config.max_rl_time * 3600 - (time.monotonic() - self._begun)))
        one = look / max(1, len(self._training[Looked].templates))
        return steps + rest / LOOK_EVERY * look + 2 * GATE_SEEDS * MOST_RESERVED * one

    def _tell(self, step: int, total: int, message: str = "", loss: float | None = None) -> None:
        left = self._seconds_left()
        self._training.emit(
            Progress(stage=STAGE, step=step, total=total, message=message, loss=loss, seconds_left=left)
        )

    def _watching(self, message: str) -> OnStep:
        def on_step(done: int, total: int) -> None:
            self._training.end_if_asked()
            self._tell(done, total, message)

        return on_step

    # --- the gate ----------------------------------------------------------------------------------------------------

    def _gate(self, lora: RewardLora, reserved: Sequence[ValidationTemplate]) -> GateVerdict:
        selection, training = self._selection, self._training
        shown = [photo for photo in (*selection.training, *selection.held_out) if photo.embedding is not None]
        cut = len(shown) - sum(photo.embedding is not None for photo in selection.held_out)
        vectors = [self._reporter.witness(*likeness_report.photo_face(training, photo)) for photo in shown]
        witness = GateWitness(self._reporter, vectors, cut)
        with lora.silent():
            before = self._paint(reserved)
        after = self._paint(reserved)
        with suppress(StorageFailed):  # they are for the user to look at
            for name, rows in (("before", before), ("after", after)):
                for place, row in enumerate(rows):
                    pictures.save_jpg(training.folder / VALIDATION / f"reward-{name}-{place}.jpg", row[0])
        return decide(witness.see(before, training.vision), witness.see(after, training.vision), witness.diversity)

    def _paint(self, reserved: Sequence[ValidationTemplate]) -> list[list[Image]]:
        """Paint a face into each template, at each of the gate's seeds."""
        watch: Callable[[int, int], None] = self._watching(Message("gate"))
        painters = [
            Validator(self._parts, self._training.vision, reserved, (), self._config.seed + 1 + number)
            for number in range(GATE_SEEDS)
        ]
        return [[painter.render(template, watch) for painter in painters] for template in reserved]

    def _settle(self, verdict: GateVerdict, layers: Layers) -> None:
        """Keep the small LoRA, or say why not."""
        training, state = self._training, self._state
        minutes = rounded((time.monotonic() - self._begun) / 60, 2)
        marks = {
            "accepted": verdict.accepted,
            "gain": rounded(verdict.gain, 4),
            "interval": [rounded(end, 4) for end in verdict.interval],
            "guards": {name: [_told(value) for value in pair] for name, pair in verdict.guards.items()},
            "minutes": minutes,
            "judge": self._judge.name,
            "reporter": self._reporter.name,
            "steps": state.step,
            "curve": [list(point) for point in state.curve],
        }
        if not verdict.accepted:
            _refuse(training, marks, verdict.why)
            return
        path = self._folder / reward_name(training.spec.user_id)
        plan = training[Looked].plan
        labels.write_lora(path, training.spec, layers, labels.lora_header(training.spec, plan, state.step, None))
        training.attachments[path.name] = path
        training.marks[STAGE] = marks
        training.notice(
            Message(
                "The reward was kept: the reporter {reporter} saw the likeness rise by {gain:.3f} "
                "({low:.3f} to {high:.3f}).",
                reporter=self._reporter.name,
                gain=verdict.gain,
                low=verdict.interval[0],
                high=verdict.interval[1],
            )
        )
