"""The reward's row: what `enable_rl` brings on people whom the bench checkpoint never saw.

    python tools/bench/reward_row.py --portraits FOLDER --models FOLDER --out build/reward --people 12 --seeds 2

Each person is one portrait, of which six crops are the photos. The trainer of the project trains as always, with the
defaults of the bench family (`easyphoto/families/bench.py`) but for `--steps` steps, the reward follows, and its gate
decides. Then the same templates, which neither of them saw, are painted by the LoRA before, by
the LoRA with the reward whatever the gate said, and by the LoRA after as many seconds of ordinary training. The LoRA
before paints them with two more seeds besides, of which the judge takes the best: that is the rival which needs no
training; and so do the last checkpoint, the best one and the mean of all, in place of the greedy fusion. `--models`
is a models folder in which a reporter lies. People and templates are held-out portraits, which
the checkpoint never saw.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchkit import Image, find_project, held_out, say
from lora_row import photos_of

find_project()

from easyphoto import families, pictures, reporting  # noqa: E402
from easyphoto.config import Family  # noqa: E402
from easyphoto.events import Event  # noqa: E402
from easyphoto.sd import lora as lora_files  # noqa: E402
from easyphoto.sd.lora import LoraLayer  # noqa: E402
from easyphoto.training import crops, fusion, likeness_report, loop, pipeline, state, validation  # noqa: E402
from easyphoto.training.lora import TrainedLora  # noqa: E402
from easyphoto.training.phase import Phase, Training  # noqa: E402
from easyphoto.training.phases import asked_for, inserted  # noqa: E402
from easyphoto.training.phases.encode import Encoded  # noqa: E402
from easyphoto.training.phases.fuse import FusedLora  # noqa: E402
from easyphoto.training.phases.look import Looked  # noqa: E402
from easyphoto.training.phases.reward import RewardPhase, RewardState  # noqa: E402
from easyphoto.training.phases.train import Trained  # noqa: E402
from easyphoto.training.reward_lora import RewardLora  # noqa: E402
from easyphoto.training.spec import TrainingSpec  # noqa: E402
from easyphoto.training.validation import ValidationTemplate, Validator  # noqa: E402
from easyphoto.vision import largest, registry, sharpness  # noqa: E402

CALIBRATED, SIDE, STUDY, RIVALS = 12, 256, 4, 4
"""How many templates the training gets, the side of the photos, how many templates only the study sees, and of how many
seeds the rival keeps the best."""
Row = dict[str, Any]


@dataclass
class Clocked:
    """Adds up the processor seconds that the reward learned, from its events, so that a busy machine favours nobody."""

    first: float | None = None
    last: float = 0.0
    quiet: list[float] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if getattr(event, "stage", "") == "reward" and getattr(event, "loss", None) is not None:
            self.last = time.process_time()
            self.first = self.first or self.last

    @property
    def seconds(self) -> float:
        return 0.0 if self.first is None else self.last - self.first


class StudyPhase(Phase):
    """Paints the study's templates by each LoRA and measures the pictures."""

    name = "study"
    needs = (Looked, Encoded, Trained, FusedLora)

    def __init__(self, templates: list[Path], clock: Clocked, seeds: int, out: Path) -> None:
        self._paths, self._clock, self._seeds, self._out = templates, clock, seeds, out
        self.rows: dict[str, Row] = {}

    def run(self, training: Training) -> None:
        lora, fused = training[Trained].lora, training[FusedLora]
        config, parts = training[Trained].trainer.config, training[Encoded].parts
        ratio = families.spec(training.spec.family).learning.crop_ratio
        templates = validation.prepare(self._paths, training.vision, config.resolution, ratio, STUDY)
        with lora.silent():
            self._measure(training, "no LoRA", templates)
        with lora.holding(fused.layers):
            self._measure(training, "before", templates)
            self._measure(training, "best of four", templates, RIVALS)
        self._fusions(training, templates)
        with lora.holding(fused.layers):
            saved = torch.load(training.job.phase(RewardPhase.name) / "state.pt", weights_only=True)
            found = RewardState(**saved)
            with RewardLora(parts, lora, config.seed) as small:
                small.restore(found.best)
                self._measure(training, "rewarded", templates)
        self._longer(training, lora, fused.layers)
        self._measure(training, "as long without", templates)

    def _fusions(self, training: Training, templates: list[ValidationTemplate]) -> None:
        """What the other ways make of the same checkpoints: the last one alone, the best one, and the mean of all."""
        trained, fused = training[Trained], training[FusedLora]
        shape = (trained.lora.shape.rank, trained.lora.shape.alpha)
        ranked = [score.step for score in trained.standing.candidates()]
        layers = {step: lora_files.read(state.checkpoint_path(training.folder, step)).layers for step in ranked}
        for name, members in (("last", [max(ranked)]), ("best", ranked[:1]), ("mean", ranked)):
            made = layers[members[0]] if len(members) == 1 else fusion.mean([layers[s] for s in members], *shape)
            with trained.lora.holding(made):
                self._measure(training, name, templates)
            self.rows[name]["steps"] = members
        self.rows["before"]["steps"] = list(fused.steps)

    def _longer(self, training: Training, lora: TrainedLora, layers: dict[str, LoraLayer] | Any) -> None:
        """Train on for as many seconds as the reward learned."""
        trained = training[Trained]
        lora.set(layers)
        begin, last = time.process_time(), trained.standing.step
        for number, _ in loop.steps(trained.trainer, last + 1, last + 10_000, training.stop):
            if time.process_time() - begin >= self._clock.seconds:
                say(f"ordinary training went on to step {number}")
                break

    def _measure(self, training: Training, name: str, templates: list[ValidationTemplate], rivals: int = 0) -> None:
        """Paint every template by every seed, and write down both embedders' cosines of every picture.

        With `rivals`, that many seeds paint each template, and the one that the judge likes best stands for it.
        """
        vision, selection = training.vision, training[Looked].material.selection
        reporter = reporting.of(vision)
        assert reporter is not None and selection is not None
        shown = [likeness_report.photo_face(training, p) for p in selection.training]
        own = [vision.embedder.embed(*face) for face in shown]
        seen = [reporter.witness(*face) for face in shown]
        drawn: list[list[Row]] = []
        for seed in range(rivals or self._seeds):
            painter = Validator(training[Encoded].parts, vision, templates, own, 900 + seed)
            drawn.append([])
            for place, template in enumerate(templates):
                image = painter.render(template)
                pictures.save_jpg(self._out / f"{name.replace(' ', '-')}-{place}-{seed}.jpg", image)
                face = largest(vision.detector.detect(image))
                values = {"judge": vision.embedder.calibration.stranger_mean, "sharpness": None}
                values["reporter"] = reporter.calibration.stranger_mean
                if face is not None:
                    vector, witness = vision.embedder.embed(image, face), reporter.witness(image, face)
                    values["judge"] = float(np.mean([vector @ other for other in own]))
                    values["reporter"] = float(np.mean([witness.cosine(other) for other in seen]))
                    values["sharpness"] = sharpness.sharpness(image, face)
                drawn[-1].append(values)
        if rivals:
            drawn = [[max((row[place] for row in drawn), key=lambda v: v["judge"]) for place in range(len(templates))]]
        rows = [values for row in drawn for values in row]
        sharp = [values["sharpness"] for values in rows if values["sharpness"] is not None]
        self.rows[name] = {
            "judge": round(float(np.mean([values["judge"] for values in rows])), 4),
            "reporter": round(float(np.mean([values["reporter"] for values in rows])), 4),
            "found": round(len(sharp) / len(rows), 4),
            "sharpness": round(float(np.mean(sharp)), 2) if sharp else None,
            "pictures": [[round(values["judge"], 4), round(values["reporter"], 4)] for values in rows],
        }
        say(f"{name}: {self.rows[name]}")


def person(options: argparse.Namespace, number: int, portrait: Path, templates: list[Path]) -> Row:
    """Train one person, and return what the reward's mark and the study say."""
    out = options.out / f"person-{number}"
    picture = pictures.load(portrait)
    face = largest(registry.create(options.models).detector.detect(picture))
    assert face is not None
    photos = []
    for place, photo in enumerate(photos_of(_square(picture, face), number)):
        photos.append(out / "photos" / f"{place}.png")
        pictures.save_png(photos[-1], photo)
    chosen = {"enable_rl": True, "max_train_steps": options.steps, "seed": 42 + number}
    config = families.spec(Family.BENCH).train_config(
        **chosen, steps_per_photos=options.steps, max_rl_steps=options.reward
    )
    spec = TrainingSpec(
        user_id=f"person-{number}",
        photos=tuple(photos),
        config=config,
        checkpoint=options.checkpoint,
        family=Family.BENCH,
        person_folder=out / "person",
        lora_path=out / "lora.safetensors",
        models=options.models,
        device="cpu",
        validation_templates=tuple(templates[:CALIBRATED]),
    )
    clock = Clocked()
    study = StudyPhase(templates[CALIBRATED:], clock, options.seeds, out / "pictures")
    folder = out / "person" / "job"
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.run(spec, folder, clock, lambda: False, inserted(study, before="publish", phases=asked_for(config)))
    marks = json.loads((out / "person" / "person.json").read_text(encoding="utf-8"))["reward"]
    return {"portrait": portrait.name, "reward": marks, "learned_seconds": round(clock.seconds), **study.rows}


def _square(picture: Image, face: Any) -> Image:
    frame = crops.square(face, 3.0, (picture.shape[0], picture.shape[1]))
    part = picture[frame.top : frame.bottom, frame.left : frame.right]
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the reward brings.")
    parser.add_argument("--portraits", type=Path, required=True, help="a folder of portraits nobody was trained on")
    parser.add_argument("--models", type=Path, required=True, help="a models folder with a reporter in it")
    parser.add_argument("--checkpoint", type=Path, default=Path("models/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/reward"))
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--steps", type=int, default=160, help="of the training before the reward; its other options are the defaults"
    )
    parser.add_argument("--reward", type=int, default=50)
    options = parser.parse_args()
    files = {path.relative_to(options.portraits).as_posix(): path for path in options.portraits.rglob("*.jpg")}
    paths = [files[name] for name in sorted(held_out(files))]
    templates = paths[5 :: max(1, len(paths) // (CALIBRATED + STUDY + 6))][: CALIBRATED + STUDY + 6]
    others = [path for path in paths if path not in templates]
    people = others[:: max(1, len(others) // 12)][options.first : options.first + options.people]
    table = options.out / "reward.json"
    rows: list[Row] = []
    for number, portrait in enumerate(people, options.first):
        rows.append(person(options, number, portrait, templates))
        pictures.write_bytes(table, json.dumps(rows, indent=1).encode())
        say(f"{number}: {rows[-1]['reward']}")
    sys.stdout.write(table.read_text(encoding="utf-8") + "\n")


if __name__ == "__main__":
    main()
