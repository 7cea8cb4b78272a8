"""The fuse phase: it makes one LoRA out of the checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from easyphoto.events import Fused
from easyphoto.sd import lora as lora_files
from easyphoto.sd.lora import Layers
from easyphoto.training import fusion, state
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases.look import Looked
from easyphoto.training.phases.train import Trained
from easyphoto.training.state import Score


@dataclass(frozen=True, eq=False)
class FusedLora:
    """The ``layers`` of the person's LoRA, the steps of the checkpoints that went into it, and its score, which is None
    if nothing was validated."""

    layers: Layers
    steps: tuple[int, ...]
    score: Score | None


class FusePhase(Phase):
    """Puts the best checkpoints together in the way that the option ``fusion`` names, and scores the result.

    It needs the checkpoints on the disk, and leaves nothing but pictures. A resumed training fuses again.
    """

    name = "fuse"
    needs = (Looked, Trained)
    makes = (FusedLora,)

    def run(self, training: Training) -> None:
        fused = training.put(_fused(training))
        plan, standing = training[Looked].plan, training[Trained].standing
        training.emit(
            Fused(
                method=plan.fusion if standing.scores else "last",
                steps=fused.steps,
                likeness=None if fused.score is None else fused.score.likeness,
                lora=str(training.spec.lora_path),
            )
        )


def _fused(training: Training) -> FusedLora:
    plan, trained = training[Looked].plan, training[Trained]
    standing, method = trained.standing, plan.fusion
    last = standing.step
    candidates = standing.candidates()
    if not candidates or method == "last":
        return FusedLora(_read(training, last), (last,), standing.scores.get(last))
    steps = tuple(score.step for score in candidates)
    if method == "best" or len(steps) == 1:
        return FusedLora(_read(training, steps[0]), steps[:1], candidates[0])
    shape = (trained.lora.shape.rank, trained.lora.shape.alpha)
    number = count()

    def score(layers: Layers) -> Score:
        with trained.lora.holding(layers):
            return standing.measure(last, f"fused-{next(number)}", "fuse")

    if method == "average":
        layers = fusion.mean([_read(training, step) for step in steps], *shape)
        return FusedLora(layers, steps, score(layers))
    soup = fusion.greedy(len(steps), lambda place: _read(training, steps[place]), score, candidates[0], shape)
    return FusedLora(soup.lora, tuple(steps[place] for place in soup.members), soup.score)


def _read(training: Training, step: int) -> Layers:
    return lora_files.read(state.checkpoint_path(training.folder, step)).layers
