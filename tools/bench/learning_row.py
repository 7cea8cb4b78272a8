"""The learning row: after how many steps a LoRA shows the person, and what makes it fewer.

    python tools/bench/learning_row.py --portraits FOLDER --models FOLDER --out build/learning
        [--variants default "up x4"] [--people 0 1] [--seeds 0] [--steps 160]
    python tools/bench/learning_row.py --out build/learning --table

Each person is one held-out portrait, of which six crops are the photos; the bench checkpoint saw neither them nor the
templates. The project's own trainer trains them by the defaults that the bench family had when the study began, or as a
variant of :data:`VARIANTS` says otherwise. These defaults (:data:`BEFORE`, and ``--steps``) are what is called so here,
whatever the family's are now. Every 20 steps the templates are painted, and judge and reporter tell how alike they are:
0 is a stranger and 1 a second photo of the person. ``--models`` is a models folder in which a reporter lies.

Each training is one file in ``--out``; what lies there already is not done again, so a study can be stopped at any time
and go on another day. ``--table`` prints what there is. A step is one of as many pictures as the defaults have in a
step, so that a variant of smaller batches is counted by the pictures that it saw.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from benchkit import MODEL_DIR, find_project, held_out, say
from lora_row import Scene, begun, framed_sample, painted, photos_of
from people_row import scene_of
from study_table import told

find_project()
from easyphoto import families, pictures, reporting, sd  # noqa: E402
from easyphoto.config import Family, TrainConfig  # noqa: E402
from easyphoto.measures import onlookers  # noqa: E402
from easyphoto.measures.onlookers import Onlooker  # noqa: E402
from easyphoto.ports import Face, Image, Vision  # noqa: E402
from easyphoto.training.loop import WEIGHT_DECAY, Trainer  # noqa: E402
from easyphoto.vision import largest, registry, sharpness  # noqa: E402

LOOK_EVERY, PEOPLE, TEMPLATES, SAMPLER_STEPS = 20, 8, 2, 6
"""A look costs as much as three steps of training: two templates, painted in four of six steps of the sampler."""
SHARE = 0.95
"""The person is learned when this share of the way is done that the defaults make from the base model to the end."""
KINDS = ("judge", "reporter")
DRAWS = 500
DEFAULT = "default"
Row = dict[str, Any]
Trainings = dict[tuple[int, int], Row]
"""Rows by person and seed."""


@dataclass(frozen=True)
class Variant:
    """How a training differs from the defaults of before.

    ``changes`` are other options. The up matrices learn at ``up_rate`` times the learning rate. The noise is drawn at
    ``times`` alone, of 1000. If ``averaged`` isn't 0, the running average of the LoRA is looked at too, which keeps
    that share of itself at a step.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    up_rate: float = 1.0
    times: tuple[int, int] = (0, 1000)
    averaged: float = 0.0


BEFORE: Mapping[str, Any] = MappingProxyType({"learning_rate": 2e-3, "face_weight": 1.0})
"""The options that the family had when the study began and that have changed since. :data:`DEFAULT` was measured with
them, and every variant starts from them."""
VARIANTS = {
    DEFAULT: Variant(averaged=0.9),
    "up x4": Variant(up_rate=4.0, averaged=0.9),
    "t 100-700": Variant(times=(100, 700)),
    "face x3": Variant({"face_weight": 3.0}),
    "batch 2": Variant({"train_batch_size": 2}),
    "up x8": Variant(up_rate=8.0),
    "snr 5": Variant({"snr_gamma": 5.0}),
    "rate x2": Variant({"learning_rate": 4e-3}),
    "rank-stabilised": Variant({"network_alpha": 64}),
    "up x4, t 100-700": Variant(up_rate=4.0, times=(100, 700)),
    "face x3, rate x2": Variant({"face_weight": 3.0, "learning_rate": 4e-3}),
}
"""Rank-stabilised scaling divides alpha by the root of the rank in place of the rank. At rank 16 that is an alpha of
64."""


class VariedTrainer(Trainer):
    """The project's trainer with what a variant changes beyond the options."""

    def __init__(self, variant: Variant, *given: Any) -> None:
        super().__init__(*given)
        config, accelerator = self.config, given[-1]
        self._times = variant.times
        if variant.up_rate != 1:
            rate = config.learning_rate
            rows = [
                {"params": self._parameters[0::2], "lr": rate},
                {"params": self._parameters[1::2], "lr": rate * variant.up_rate},
            ]
            self._optimizer = accelerator.prepare(torch.optim.AdamW(rows, weight_decay=WEIGHT_DECAY))

    def _loss(self, items: Any, clean: Any, noise: Any, times: torch.Tensor, captions: Any = None) -> torch.Tensor:
        return super()._loss(items, clean, noise, within(times, self._times), captions)


def within(times: torch.Tensor, span: tuple[int, int], whole: int = 1000) -> torch.Tensor:
    """Times of the ``whole`` range brought into ``span``, as evenly spread as they were."""
    low, high = span
    return low + times * (high - low) // whole


class RunningAverage:
    """The LoRA's numbers, averaged over the last steps. At the beginning it forgets faster, so that the zeros that the
    LoRA began with soon count no more."""

    def __init__(self, parameters: Sequence[torch.Tensor], keep: float) -> None:
        self._keep, self._steps, self._live = keep, 0, parameters
        self._mean = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def stepped(self) -> None:
        self._steps += 1
        keep = min(self._keep, self._steps / (self._steps + 9))
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.lerp_(live, 1 - keep)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average where the numbers are, and the numbers where the average was."""
        for mean, live in zip(self._mean, self._live, strict=True):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)


@dataclass(frozen=True, eq=False)
class Eyes:
    """Judge and reporter as they look at one person's photos."""

    vision: Vision
    onlookers: Mapping[str, Onlooker[Any]]
    photos: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, vision: Vision, photos: Sequence[tuple[Image, Face]]) -> Eyes:
        reporter = reporting.of(vision)
        if reporter is None:
            raise SystemExit("There is no reporter: name the models folder that has one with --models.")
        both: dict[str, Onlooker[Any]] = {"judge": onlookers.judge(vision.embedder)}
        both["reporter"] = onlookers.second(reporter)
        return cls(vision, both, {kind: [eye.describe(*one) for one in photos] for kind, eye in both.items()})

    def look(self, images: Sequence[Image]) -> Row:
        """What a set of templates shows. One without a face counts as a stranger."""
        values: dict[str, list[float]] = {kind: [] for kind in KINDS}
        sharp = []
        for image in images:
            face = largest(self.vision.detector.detect(image))
            if face is not None:
                sharp.append(sharpness.sharpness(image, face))
            for kind, eye in self.onlookers.items():
                cosine = eye.calibration.stranger_mean
                if face is not None:
                    cosine = float(eye.table([eye.describe(image, face)], self.photos[kind]).mean())
                values[kind].append(eye.calibration.unit(cosine))
        means: Row = {kind: round(float(np.mean(values[kind])), 4) for kind in KINDS}
        keen = round(float(np.mean(sharp)), 1) if sharp else None
        return {**means, "sharpness": keen, "found": len(sharp) / len(images)}


@dataclass(frozen=True, eq=False)
class Subject:
    """One person with what a training of them needs."""

    samples: Sequence[Any]
    eyes: Eyes
    scenes: Sequence[Scene]


def subjects(portraits: Path, vision: Vision, wanted: Sequence[int]) -> Iterator[tuple[int, Subject]]:
    """The people of these numbers, each with the same templates."""
    files = {path.relative_to(portraits).as_posix(): path for path in portraits.rglob("*.jpg")}
    paths = [files[name] for name in sorted(held_out(files))]
    if len(paths) < PEOPLE + TEMPLATES:
        raise SystemExit(f"There are too few portraits in {portraits}: {len(paths)} of {PEOPLE + TEMPLATES}.")
    templates = paths[5 :: len(paths) // TEMPLATES][:TEMPLATES]
    others = [path for path in paths if path not in templates]
    apart = len(others) // PEOPLE
    scenes = [scene for path in templates if (scene := scene_of(path, vision)) is not None]
    for number in wanted:
        # A portrait in which no face is found gives way to the next one.
        found = (scene_of(path, vision) for path in others[number * apart : (number + 1) * apart])
        own = next(scene for scene in found if scene is not None)
        photos = []
        for photo in photos_of(own.image, number):
            face = largest(vision.detector.detect(photo))
            if face is not None:
                photos.append((photo, face))
        samples = [framed_sample(*one, vision) for one in photos]
        yield number, Subject(samples, Eyes.of(vision, photos), scenes)


def config_of(variant: Variant, seed: int, steps: int) -> TrainConfig:
    """The options of a variant's training with a seed."""
    chosen = {**BEFORE, **variant.changes, "max_train_steps": steps, "seed": 42 + seed}
    return families.spec(Family.BENCH).train_config(**chosen)


def pictures_a_step(config: TrainConfig) -> int:
    return config.train_batch_size * config.gradient_accumulation_steps


def run(model: Path, variant: Variant, subject: Subject, seed: int, steps: int) -> Row:
    """Train one person in one way, and return the looks at the LoRA and at its average."""
    config = config_of(variant, seed, steps)
    usual, now = pictures_a_step(config_of(Variant(), seed, steps)), pictures_a_step(config)
    parts = sd.load(model, device=torch.device("cpu"), dtype=torch.float32)
    lora, trainer = begun(parts, subject.samples, config, lambda *given: VariedTrainer(variant, *given))
    average = RunningAverage(lora.parameters(), variant.averaged) if variant.averaged else None
    courses: dict[str, list[Row]] = {"": [], "averaged": []}

    def look(step: int) -> None:
        courses[""].append({"step": step, **seen(parts, subject, seed)})
        if average is not None and step == 0:
            courses["averaged"].append(courses[""][0])
        elif average is not None:
            average.exchange()
            courses["averaged"].append({"step": step, **seen(parts, subject, seed)})
            average.exchange()

    look(0)
    seconds, done = 0.0, 0
    for step in range(LOOK_EVERY, steps + 1, LOOK_EVERY):
        begin = time.process_time()
        while done * now < step * usual:
            done += 1
            trainer.step(done)
            if average is not None:
                average.stepped()
        seconds += time.process_time() - begin
        look(step)
        say(f"step {step}: {courses[''][-1]}")
    return {"seconds_a_step": round(seconds / steps, 3), **{name: rows for name, rows in courses.items() if rows}}


def seen(parts: Any, subject: Subject, seed: int) -> Row:
    return subject.eyes.look([painted(parts, scene, seed, SAMPLER_STEPS) for scene in subject.scenes])


# --------------------------------------------------------------------------------------------------------- table


def read(out: Path) -> list[Row]:
    """All courses that lie in a folder, each with its variant, person and seed."""
    rows = []
    for path in sorted(out.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for course in ("", "averaged"):
            if course in found:
                name = f"{found['variant']}, {course}" if course else found["variant"]
                rows.append({**found, "variant": name, "looks": found[course]})
    return rows


def reached(steps: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """The first step at which a course reaches a level, in a straight line between two looks; None if it never does."""
    for place, value in enumerate(values):
        if value >= level:
            if place == 0:
                return float(steps[0])
            before = values[place - 1]
            share = (level - before) / (value - before)
            return float(steps[place - 1] + share * (steps[place] - steps[place - 1]))
    return None


def mean_course(rows: Sequence[Row], kind: str) -> tuple[list[float], list[float]]:
    """The steps that all rows have looked at, and the mean over the people of the means over their seeds."""
    tables = [{look["step"]: look[kind] for look in row["looks"]} for row in rows]
    steps = sorted(set.intersection(*map(set, tables)))
    people = sorted({row["person"] for row in rows})
    each = [
        [np.mean([table[step] for table, row in zip(tables, rows, strict=True) if row["person"] == person])
         for step in steps]
        for person in people
    ]  # fmt: skip
    return [float(step) for step in steps], [float(value) for value in np.mean(each, axis=0)]


def learned_after(rows: Sequence[Row], usual: Sequence[Row], kind: str) -> tuple[float | None, float | None]:
    """After how many steps these trainings, and those of the defaults for the same people and seeds, have done
    :data:`SHARE` of the way that the defaults make."""
    steps, values = mean_course(usual, kind)
    level = values[0] + SHARE * (values[-1] - values[0])
    return reached(*mean_course(rows, kind), level), reached(steps, values, level)


def sooner(rows: Sequence[Row], usual: Sequence[Row], kind: str) -> tuple[float, float]:
    """The 95% interval, over people drawn again and again, of how many steps later than the defaults these trainings
    have learned. What hasn't learned counts as learned at its last step."""
    people = sorted({row["person"] for row in rows})
    generator, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = generator.choice(people, len(people))
        own, others = (
            [{**row, "person": place} for place, who in enumerate(drawn) for row in table if row["person"] == who]
            for table in (rows, usual)
        )
        last = own[0]["looks"][-1]["step"]
        mine, theirs = learned_after(own, others, kind)
        found.append((last if mine is None else mine) - (last if theirs is None else theirs))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table as lines of Markdown: each variant beside the defaults on the same people and seeds."""
    by_name: dict[str, Trainings] = {}
    for row in rows:
        by_name.setdefault(row["variant"], {})[row["person"], row["seed"]] = row
    default = by_name.get(DEFAULT, {})
    yield "| | people, trainings | " + " | ".join(
        f"{kind}: learned after | {kind}: ahead of the default" for kind in KINDS
    ) + " | at step | sharpness | a face found | CPU time a step |"  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in in_order(by_name):
        both = sorted(set(by_name[name]) & set(default))
        if not both:
            continue
        own, usual = [by_name[name][key] for key in both], [default[key] for key in both]
        last = int(min(row["looks"][-1]["step"] for row in (*own, *usual)))
        cells = []
        for kind in KINDS:
            mine, theirs = learned_after(own, usual, kind)
            tells = "not" if mine is None else f"{mine:.0f}"
            if name != DEFAULT:
                tells += f" (default {theirs or 0:.0f})"
                if own[0]["looks"][-1]["step"] >= usual[0]["looks"][-1]["step"]:  # else it may learn after its end
                    low, high = sooner(own, usual, kind)
                    tells = f"{tells[:-1]}; difference [{low:+.0f}, {high:+.0f}])"
            cells.append(tells)
            cells.append("" if name == DEFAULT else told(ahead(own, usual, kind, last), "+"))
        sharp, found = at(own, "sharpness", last), at(own, "found", last)
        seconds = np.mean([row["seconds_a_step"] for row in own])
        people = len({person for person, _ in both})
        keen = f"{np.mean(sharp):.0f} (default {np.mean(at(usual, 'sharpness', last)):.0f})"
        yield f"| {name} | {people}, {len(both)} | {' | '.join(cells)} | {last} | {keen} | {np.mean(found):.0%} | " + (
            f"{seconds:.2f} s |"
        )
    yield from halves(by_name, default)
    twice = trained_twice(list(default.values()))
    if twice:
        step = int(min(row["looks"][-1]["step"] for row in twice))
        yield ""
        for kind in KINDS:
            apart, gained = seeds_apart(twice, kind, step)
            yield (
                f"Two trainings of a person by the defaults are {told(apart)} apart after {step} steps by the {kind}, "
                f"and bring {told(gained, '+')}. People: {len(apart)}."
            )


def halves(by_name: Mapping[str, Trainings], default: Trainings) -> Iterator[str]:
    """A table that holds each variant after half of the steps to the defaults after all of theirs."""
    whole = max((row["looks"][-1]["step"] for row in default.values()), default=0)
    found = {}
    for name, trainings in by_name.items():
        both = [
            key for key, row in default.items()
            if row["looks"][-1]["step"] == whole and key in trainings and at([trainings[key]], "judge", whole // 2)
        ]  # fmt: skip
        if both:
            found[name] = [trainings[key] for key in both], [default[key] for key in both]
    if found:
        yield ""
        yield f"| after {whole // 2} steps, less the defaults after {whole} | people, trainings | judge | reporter |"
        yield "|---|---|---|---|"
    for name in in_order(found):
        own, usual = found[name]
        cells = [told(ahead(own, usual, kind, whole // 2, whole), "+") for kind in KINDS]
        yield f"| {name} | {len({row['person'] for row in own})}, {len(own)} | {' | '.join(cells)} |"


def in_order(names: Iterable[str]) -> list[str]:
    """Names of variants, each averaged one behind its own, in the order of :data:`VARIANTS`."""
    return sorted(names, key=lambda name: list(VARIANTS).index(name.removesuffix(", averaged")))


def trained_twice(rows: Sequence[Row]) -> list[Row]:
    """The trainings of the people who were trained with several seeds for as many steps as anybody."""
    longest = max((row["looks"][-1]["step"] for row in rows), default=0)
    whole = [row for row in rows if row["looks"][-1]["step"] == longest]
    seeds = Counter(row["person"] for row in whole)
    return [row for row in whole if seeds[row["person"]] > 1]


Numbers = np.ndarray[Any, np.dtype[np.float64]]


def seeds_apart(rows: Sequence[Row], kind: str, step: int) -> tuple[Numbers, Numbers]:
    """For each person, how far the seeds are apart at a step, and how much more alike the person is than before the
    training, as a mean over the seeds."""
    people = sorted({row["person"] for row in rows})
    each = [[row for row in rows if row["person"] == person] for person in people]
    ends = [at(own, kind, step) for own in each]
    begins = [at(own, kind, 0) for own in each]
    apart = np.array([max(values) - min(values) for values in ends])
    return apart, np.array([np.mean(end) - np.mean(begin) for end, begin in zip(ends, begins, strict=True)])


def at(rows: Sequence[Row], what: str, step: int) -> list[float]:
    """What the rows say at a step, without those that say nothing."""
    values = [look[what] for row in rows for look in row["looks"] if look["step"] == step]
    return [value for value in values if value is not None]


def ahead(rows: Sequence[Row], usual: Sequence[Row], kind: str, step: int, against: int | None = None) -> Numbers:
    """How much more alike each person is at a step than by the defaults at that step, or at the step ``against``, as a
    mean over the seeds."""
    differences: dict[int, list[float]] = {}
    for row, other in zip(rows, usual, strict=True):
        value, before = at([row], kind, step)[0], at([other], kind, step if against is None else against)[0]
        differences.setdefault(row["person"], []).append(value - before)
    return np.array([np.mean(values) for values in differences.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--portraits", type=Path, help="a folder of portraits")
    parser.add_argument("--models", type=Path, help="a models folder with a reporter in it")
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--out", type=Path, default=Path("build/learning"))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--people", type=int, nargs="+", choices=range(PEOPLE), default=list(range(PEOPLE)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=160, help="160 is what the defaults took when the study began")
    parser.add_argument("--table", action="store_true", help="train nothing, and print what there is")
    options = parser.parse_args()
    if not options.table:
        if options.portraits is None or options.models is None:
            parser.error("say where the pictures and the reporter are: --portraits FOLDER --models FOLDER")
        study(options)
    rows = read(options.out)
    if not rows:
        raise SystemExit(f"There is no training in {options.out} yet.")
    for line in lines(rows):
        print(line)


def study(options: argparse.Namespace) -> None:
    """Do the trainings that aren't there yet, person by person."""
    jobs = [(name, person, seed) for person in options.people for seed in options.seeds for name in options.variants]
    missing = [job for job in jobs if steps_of(file_of(options.out, *job)) < options.steps]
    vision = registry.create(options.models)
    for number, subject in subjects(options.portraits, vision, sorted({person for _, person, _ in missing})):
        for name, _, seed in (job for job in missing if job[1] == number):
            say(f"{name}, person {number}, seed {seed}")
            made = run(options.model, VARIANTS[name], subject, seed, options.steps)
            row = {"variant": name, "person": number, "seed": seed, **made}
            pictures.write_bytes(file_of(options.out, name, number, seed), json.dumps(row, indent=1).encode())


def steps_of(path: Path) -> int:
    """How many steps the training of this file had, 0 where there is none."""
    return int(json.loads(path.read_text(encoding="utf-8"))[""][-1]["step"]) if path.is_file() else 0


def file_of(out: Path, variant: str, person: int, seed: int) -> Path:
    return out / f"{variant.replace(' ', '-').replace(',', '')}-{person}-{seed}.json"


if __name__ == "__main__":
    main()
