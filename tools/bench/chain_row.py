"""The chain row of evaluate.py: what each part of the whole job adds to the likeness of its portraits.

Each person is a held-out portrait, turned, cropped and lit six times as the demo does with its photo. The project
trains them with its defaults, validation and greedy fusion included, and makes portraits on two other held-out
portraits: at the strengths that users find in the tab, and with one thing changed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchkit import Image, find_project, say, sheet
from lora_row import TEMPLATES, cast, cosine, interval

PEOPLE = 12
FIRST_STEPS, SECOND_STEPS, SEED = 20, 10, 1
USER = "person"
Row = dict[str, Any]


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
        from easyphoto.config import PortraitConfig
        from easyphoto.service import PortraitRequest

        usual = PortraitConfig(seed=SEED, first_diffusion_steps=FIRST_STEPS, second_diffusion_steps=SECOND_STEPS)
        config = replace(usual, **changes)
        result = self._service.generate(PortraitRequest((USER,), tuple(templates), config)).wait()
        made = {portrait.template: portrait.image for portrait in result.portraits}
        return [made.get(index) for index in range(len(templates))]


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
    made = {
        "as it comes": job.portraits(templates),
        "without LoRA": job.portraits(templates, lora_weights=0.0),
        "one pass": job.portraits(templates, enable_second_diffusion=False),
        "without face fusion": job.portraits(templates, apply_face_fusion_before=False, apply_face_fusion_after=False),
    }
    saved = sorted(person.folder.rglob("checkpoint-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    shutil.copyfile(saved[-1], person.lora)
    return {**made, "last checkpoint": job.portraits(templates)}


def measure(bench: Any) -> Row:
    """Run all people and sum up."""
    count = min(bench.limit or PEOPLE, PEOPLE)
    people, strangers = cast(bench, count)
    cosines: list[dict[str, list[float | None]]] = []
    for number, (view, _) in enumerate(people):
        first = number % 4 * TEMPLATES
        templates = [bench.portraits / stranger.file for stranger, _ in strangers[first : first + TEMPLATES]]
        cosines.append(one_person(bench, bench.portraits / view.file, templates, number))
        shown = {name: [None if c is None else round(c, 3) for c in values] for name, values in cosines[-1].items()}
        say(f"person {number + 1} of {count}: {shown}")
    usual = "as it comes"

    def against(name: str) -> Row:
        return summed_up([mean_gain(list(zip(one[name], one[usual], strict=True))) for one in cosines])

    everything = [cosine for one in cosines for cosine in one[usual]]
    return {
        "people": count,
        "face_found": round(float(np.mean([value is not None for value in everything])), 4),
        "lora": against("without LoRA"),
        "greedy_fusion": against("last checkpoint"),
        "second_pass": against("one pass"),
        "face_fusion": against("without face fusion"),
        "median_cosine": {
            name: round(float(np.median([v for one in cosines for v in one[name] if v is not None])), 4)
            for name in cosines[0]
        },
    }


def one_person(bench: Any, portrait: Path, templates: Sequence[Path], number: int) -> dict[str, list[float | None]]:
    """Cosines to the person of the templates and of the portraits made each way."""
    folder = Path(tempfile.mkdtemp(prefix="easyphoto-chain-"))
    try:
        job = Job(folder, bench.model)
        from easyphoto import pictures

        person = job.train(portrait)
        made: dict[str, list[Image | None]] = {"template": [pictures.load(template) for template in templates]}
        made |= ways(job, person, templates)
        own = pictures.load(portrait)
        embedding = bench.faces.embedding(own)
        for index in range(len(templates)):
            shown = [own, *(pictures_[index] for pictures_ in made.values())]
            sheet([[p for p in shown if p is not None]], bench.out / "chain" / f"{number}-{index}.jpg", side=192)
        return {
            name: [None if picture is None else cosine(bench, embedding, picture) for picture in pictures_]
            for name, pictures_ in made.items()
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
