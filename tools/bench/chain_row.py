"""The chain row of evaluate.py: what each part of the whole job adds to the likeness of its portraits.

Each person is a held-out portrait, turned, cropped and lit six times as the demo does with its photo. The project
trains them with its defaults, validation and greedy fusion included, and makes portraits on two other held-out
portraits: at the strengths that users find in the tab, and with one thing changed. Of the portraits as they come, the
fused picture and what the first pass makes of it are looked at too. Likeness is to the one portrait, in units in which
a stranger is 0 and a second photo of the person 1, by the project's judge and by its reporter where the models folder
has one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from benchkit import Image, find_project, say, sheet
from lora_row import TEMPLATES, cast, interval

PEOPLE = 12
FIRST_STEPS, SECOND_STEPS, SEED = 20, 10, 1
USER = "person"
USUAL = "as it comes"
STAGES = {"fusion": "fusion alone", "first": "first pass"}
"""The stages of a portrait that are looked at, and what the table calls them."""
GAINS = {
    "lora": ("without LoRA", USUAL),
    "greedy_fusion": ("last checkpoint", USUAL),
    "second_pass": (USUAL, "two passes"),
    "face_fusion": ("without face fusion", USUAL),
    "first_pass_after_fusion": ("fusion alone", "first pass"),
    "passes_after_fusion": ("fusion alone", USUAL),
}
"""What is compared: the second of a pair against the first."""
FUSED = 0.05
"""A face that fusion brought nearer by less than this counts as not fused. Heads that look too far apart are not."""
Row = dict[str, Any]
Seen: TypeAlias = Mapping[str, Sequence[float | None]]
"""What one embedder saw of one person: the likeness of each way on each template, None where no face was found."""


class Job:
    """The project's service on a bench checkpoint, in a folder of its own, for one person."""

    def __init__(self, folder: Path, model: Path) -> None:
        find_project()
        from easyphoto.cli import demo
        from easyphoto.cli.standalone import build
        from easyphoto.config import Paths

        self._folder, self._demo = folder, demo
        paths = replace(Paths.standalone(), bench=model.resolve(), outputs=folder / "outputs", loras=folder / "loras")
        self._service = build(paths)

    def train(self, portrait: Path) -> Any:
        """The trained person."""
        from easyphoto import pictures
        from easyphoto.service import TrainRequest

        photos = []
        for number, photo in enumerate(self._demo.photos(pictures.load(portrait))):
            photos.append(self._folder / f"photo-{number}.png")
            pictures.save_png(photos[-1], photo)
        return self._service.train(TrainRequest(USER, tuple(photos))).wait()

    def portraits(self, templates: Sequence[Path], **changes: Any) -> list[Image | None]:
        """A portrait on each template, None where it failed: the tab's settings, fewer steps, and these changes."""
        return self.stages(templates, **changes)["final"]

    def stages(self, templates: Sequence[Path], **changes: Any) -> dict[str, list[Image | None]]:
        """The same portraits as ``final``, and each stage of them by its name."""
        from easyphoto.config import PortraitConfig, unlike_defaults
        from easyphoto.service import PortraitRequest

        usual = PortraitConfig(seed=SEED, first_diffusion_steps=FIRST_STEPS, second_diffusion_steps=SECOND_STEPS)
        chosen = unlike_defaults(usual) | set(changes)
        config = replace(usual, **changes)
        request = PortraitRequest((USER,), tuple(templates), config, keep_stages=True, chosen=chosen)
        made = {portrait.template: portrait for portrait in self._service.generate(request).wait().portraits}
        everything = {index: {**portrait.stages, "final": portrait.image} for index, portrait in made.items()}
        places = range(len(templates))
        return {name: [everything.get(i, {}).get(name) for i in places] for name in (*STAGES, "final")}


class Onlookers:
    """The project's judge, and its reporter where ``models`` has one."""

    def __init__(self, models: Path) -> None:
        find_project()
        from easyphoto import reporting
        from easyphoto.measures import onlookers
        from easyphoto.vision import registry

        self._vision = registry.create(models)
        reporter = reporting.of(self._vision)
        self.eyes: dict[str, Any] = {"judge": onlookers.judge(self._vision.embedder)}
        if reporter is not None:
            self.eyes["reporter"] = onlookers.second(reporter)

    def see(self, own: Image, made: Mapping[str, Sequence[Image | None]]) -> dict[str, Seen]:
        """The likeness of the pictures to the person in ``own``, by each embedder."""
        known = self._shown(own)
        assert known is not None
        faces = {name: [self._shown(picture) for picture in row] for name, row in made.items()}
        seen: dict[str, Seen] = {}
        for kind, eye in self.eyes.items():
            person = eye.describe(*known)
            seen[kind] = {
                name: [
                    None if item is None else eye.calibration.unit(eye.compare(person, eye.describe(*item)))
                    for item in row
                ]
                for name, row in faces.items()
            }
        return seen

    def _shown(self, picture: Image | None) -> tuple[Image, Any] | None:
        """A picture with its largest face; None where there is no picture or no face."""
        from easyphoto.vision import largest

        face = None if picture is None else largest(self._vision.detector.detect(picture))
        return None if picture is None or face is None else (picture, face)


def mean_gain(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Mean of what the second of a pair has more than the first, over pairs that have both."""
    gains = [after - before for before, after in pairs if before is not None and after is not None]
    return float(np.mean(gains)) if gains else None


def summed_up(gains: Sequence[float | None]) -> Row:
    """Median over the people and its 95% bootstrap interval."""
    known = [gain for gain in gains if gain is not None]
    return {
        "median_gain": round(float(np.median(known)), 4),
        "interval": interval(known),
        "higher_for": f"{sum(gain > 0 for gain in known)} of {len(known)}",
    }


def ways(job: Job, person: Any, templates: Sequence[Path]) -> dict[str, list[Image | None]]:
    """The portraits, as they come and with one thing changed; the last checkpoint comes last: it replaces the LoRA."""
    usual = job.stages(templates)
    made = {
        **{title: usual[stage] for stage, title in STAGES.items()},
        USUAL: usual["final"],
        "without LoRA": job.portraits(templates, lora_weights=0.0),
        "two passes": job.portraits(templates, enable_second_diffusion=True),
        "without face fusion": job.portraits(templates, apply_face_fusion_before=False, apply_face_fusion_after=False),
    }
    saved = sorted(person.folder.rglob("checkpoint-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    shutil.copyfile(saved[-1], person.lora)
    return {**made, "last checkpoint": job.portraits(templates)}


def measure(bench: Any) -> Row:
    """Run all people and sum up."""
    count = min(bench.limit or PEOPLE, PEOPLE)
    people, strangers = cast(bench, count)
    onlookers = Onlookers(bench.models)
    seen: list[dict[str, Seen]] = []
    for number, (view, _) in enumerate(people):
        first = number % 4 * TEMPLATES
        templates = [bench.portraits / stranger.file for stranger, _ in strangers[first : first + TEMPLATES]]
        seen.append(one_person(bench, onlookers, bench.portraits / view.file, templates, number))
        say(f"person {number + 1} of {count}: {seen[-1]}")
    found = [value is not None for one in seen for value in one["judge"][USUAL]]
    return {
        "people": count,
        "face_found": round(float(np.mean(found)), 4),
        **{kind: of_one_embedder([one[kind] for one in seen]) for kind in onlookers.eyes},
    }


def of_one_embedder(people: Sequence[Seen]) -> Row:
    """What one embedder saw: the median likeness of each way, what each part adds, and the share of the likeness of the
    fused picture that the first pass keeps (the median over people of the ratio of their means)."""
    gains = {
        name: summed_up([mean_gain(list(zip(one[less], one[more], strict=True))) for one in people])
        for name, (less, more) in GAINS.items()
    }
    shares = [kept_share(one["template"], one["fusion alone"], one["first pass"]) for one in people]
    kept = [share for share in shares if share is not None]
    return {
        "median": {
            name: round(float(np.median([v for one in people for v in one[name] if v is not None])), 4)
            for name in people[0]
        },
        **gains,
        "first_pass_keeps": {"median": round(float(np.median(kept)), 4), "interval": interval(kept)} if kept else None,
    }


def kept_share(
    templates: Sequence[float | None], fused: Sequence[float | None], passed: Sequence[float | None]
) -> float | None:
    """The likeness after the pass as a share of that before it, over the faces that were fused and found both times.
    None where there are none."""
    rows = zip(templates, fused, passed, strict=True)
    pairs = [(b, c) for a, b, c in rows if a is not None and b is not None and c is not None and b - a >= FUSED]
    whole = sum(before for before, _ in pairs)
    return sum(after for _, after in pairs) / whole if whole > 0 else None


def one_person(
    bench: Any, onlookers: Onlookers, portrait: Path, templates: Sequence[Path], number: int
) -> dict[str, Seen]:
    """What each embedder sees of the templates and of the portraits made each way."""
    folder = Path(tempfile.mkdtemp(prefix="easyphoto-chain-"))
    try:
        job = Job(folder, bench.model)
        from easyphoto import pictures

        person = job.train(portrait)
        made: dict[str, list[Image | None]] = {"template": [pictures.load(template) for template in templates]}
        made |= ways(job, person, templates)
        own = pictures.load(portrait)
        for index in range(len(templates)):
            shown = [own, *(row[index] for row in made.values())]
            sheet([[p for p in shown if p is not None]], bench.out / "chain" / f"{number}-{index}.jpg", side=192)
        return onlookers.see(own, made)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
