"""The people row: how much a LoRA makes templates look like people of whom there are several photos.

    python tools/bench/people_row.py --people FOLDER --templates FOLDER --work FOLDER
        [--stage prepare|train|judge|all] [--models FOLDER] [--device cuda] [--seeds 0 1] [--steps N] [--limit N]

PEOPLE has a folder of photos for each person, three at least. A third of each person's photos is held out. The rest is
trained on with the project's own trainer, once for each seed, for ``--steps`` steps with the other defaults of the
bench family (``easyphoto/families/bench.py``) and no validation. Each template is repainted with the LoRA and without.
Likeness is measured to the photos that were held out, by the judge and by the reporter whose weights lie in the folder
``--models``: cosines, and units in which a stranger is 0 and a second photo of the person 1. The floor is the base
model without the LoRA, and the ceiling what the photos that were trained on reach. Intervals are over people: the seeds
and templates of a person are one number.

The stages can run on different machines. ``prepare`` and ``judge`` need the packages that find faces. ``train`` needs
torch, diffusers, transformers, accelerate and peft, reads WORK/prepared alone and writes WORK/made; what it has made
before it leaves as it is. ``judge`` writes WORK/people_row.json and WORK/people.jpg.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchkit import MODEL_DIR, ROOT, SIZE, Image, find_project, say, sheet
from lora_row import STEPS, Scene, Trial, face_mask, framed_sample, interval

find_project()
from easyphoto import pictures, reporting  # noqa: E402
from easyphoto.errors import InvalidRequest  # noqa: E402
from easyphoto.measures import likeness_panel as numbers  # noqa: E402
from easyphoto.measures import onlookers  # noqa: E402
from easyphoto.measures.onlookers import Onlooker  # noqa: E402
from easyphoto.ports import Face, Vision  # noqa: E402
from easyphoto.training import crops, samples  # noqa: E402
from easyphoto.vision import geometry, landmarks, largest  # noqa: E402

FEWEST = 3
AROUND = 2.0
"""A template is cut out so many faces wide, as the views are that the checkpoint learned faces from."""
PREPARED, MADE, INDEX = "prepared", "made", "index.json"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=Path, help="for prepare and judge")
    parser.add_argument("--templates", type=Path, help="for prepare")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--stage", choices=("prepare", "train", "judge", "all"), default="all")
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="where a reporter's weights lie")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training; its other options are the defaults")
    parser.add_argument("--limit", type=int, default=0, help="at most so many people")
    options = parser.parse_args()
    stages = ("prepare", "train", "judge") if options.stage == "all" else (options.stage,)
    if options.stage != "train" and options.people is None:
        raise SystemExit("Say where the photos are: --people FOLDER.")
    if "prepare" in stages:
        if options.templates is None:
            raise SystemExit("Say where the templates are: --templates FOLDER.")
        prepare(options.people, options.templates, options.work / PREPARED, vision_of(options.models), options.limit)
    if "train" in stages:
        train(options.work, Trial(options.model, options.device, options.steps), options.seeds)
    if "judge" in stages:
        row = judge(options.people, options.work, vision_of(options.models), options.steps)
        print(json.dumps(row, indent=1))


def vision_of(models: Path) -> Vision:
    from easyphoto.vision import registry

    return registry.create(models)


# ------------------------------------------------------------------------------------------------------- prepare


def prepare(people: Path, templates: Path, out: Path, vision: Vision, limit: int = 0) -> None:
    """Write what the training needs, as pictures: the framed photos of each person, and templates with their masks."""
    scenes = {path.name: found for path in listed(templates) if (found := scene_of(path, vision)) is not None}
    if not scenes:
        raise SystemExit(f"No face was found in any picture of {templates}.")
    for number, one in enumerate(scenes.values()):
        pictures.save_png(out / "templates" / f"{number}.png", one.image)
        mask = np.repeat((255 * one.mask).astype(np.uint8)[..., None], 3, axis=2)
        pictures.save_png(out / "templates" / f"{number}-mask.png", mask)
    told: dict[str, Any] = {}
    folders = sorted(path for path in people.iterdir() if path.is_dir())
    for folder in folders[: limit or None]:
        faces = faces_of(listed(folder), vision)
        if len(faces) < FEWEST:
            say(f"{folder.name} is left out: a face was found in {len(faces)} photos, and {FEWEST} are needed.")
            continue
        kept_back = held_out(faces)
        trained = [name for name in faces if name not in kept_back]
        samples.save(out / "people" / folder.name, [framed_sample(*faces[name], vision) for name in trained])
        told[folder.name] = {"trained": trained, "held_out": kept_back}
        say(f"{folder.name}: {len(trained)} photos to train on, {len(kept_back)} held out")
    if not told:
        raise SystemExit(f"Nobody in {people} has {FEWEST} photos with a face.")
    index = {"people": told, "templates": list(scenes)}
    pictures.write_bytes(out / INDEX, json.dumps(index, ensure_ascii=False, indent=1).encode())


def held_out(faces: Mapping[str, tuple[Image, Face]]) -> list[str]:
    """A third of the photos, chosen by their content: the same ones whatever they are called."""
    from easyphoto.training.photos import digest

    ranked = sorted(faces, key=lambda name: (digest(faces[name][0]), name))
    return sorted(ranked[: max(1, round(len(ranked) / 3))])


def scene_of(path: Path, vision: Vision) -> Scene | None:
    """The square around the largest face of a picture as a template, None without a face."""
    found = faces_of([path], vision)
    if not found:
        return None
    image, face = found[path.name]
    crop = crops.square(face, AROUND, (image.shape[0], image.shape[1]))
    cut, inside = geometry.cut(image, crop), geometry.in_crop(face, crop)
    scale = SIZE / cut.shape[0]
    points = landmarks.of(vision, cut, inside) * np.float32(scale)
    return Scene(geometry.resize(cut, (SIZE, SIZE)), face_mask(points, inside.width * scale))


def listed(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})


def faces_of(paths: Sequence[Path], vision: Vision) -> dict[str, tuple[Image, Face]]:
    """The pictures with a face by their names, each with its largest one."""
    found = {}
    for path in paths:
        try:
            image = pictures.load(path, max_area=pictures.PHOTO_AREA)
        except InvalidRequest as error:
            say(f"left out: {error}")
            continue
        face = largest(vision.detector.detect(image))
        if face is not None:
            found[path.name] = (image, face)
    return found


# --------------------------------------------------------------------------------------------------------- train


def train(work: Path, trial: Trial, seeds: Sequence[int]) -> None:
    """Train each person with each seed, and write the templates as they come with the LoRA and without."""
    source = work / PREPARED
    index = json.loads((source / INDEX).read_text(encoding="utf-8"))
    scenes = [read_scene(source / "templates", number) for number in range(len(index["templates"]))]
    jobs = [(name, seed) for name in index["people"] for seed in seeds]
    for number, (name, seed) in enumerate(jobs):
        out = work / MADE / name / str(seed)
        if (out / f"with-{len(scenes) - 1}.png").is_file():
            continue
        given, _ = samples.load(source / "people" / name)
        before, after = trial.run(given, scenes, seed)
        for kind, made in (("without", before), ("with", after)):
            for place, picture in enumerate(made):
                pictures.save_png(out / f"{kind}-{place}.png", picture)
        say(f"{number + 1} of {len(jobs)}: {name}, seed {seed}")


def read_scene(folder: Path, number: int) -> Scene:
    mask = pictures.load(folder / f"{number}-mask.png")[..., 0].astype(np.float32) / np.float32(255)
    return Scene(pictures.load(folder / f"{number}.png"), mask)


# --------------------------------------------------------------------------------------------------------- judge


@dataclass(frozen=True)
class PersonRow:
    """One person as one embedder sees them, a cosine for each seed: the pictures with the LoRA, those without, how much
    was copied; and the ``ceiling``."""

    values: tuple[float, ...]
    floors: tuple[float, ...]
    copying: tuple[float, ...]
    ceiling: float


def judge(people: Path, work: Path, vision: Vision, steps: int) -> Row:
    """Measure what was made and sum up over the people."""
    index = json.loads((work / PREPARED / INDEX).read_text(encoding="utf-8"))
    reporter = reporting.of(vision)
    eyes: dict[str, Onlooker[Any]] = {"judge": onlookers.judge(vision.embedder)}
    if reporter is not None:
        eyes["reporter"] = onlookers.second(reporter)
    rows: dict[str, list[PersonRow]] = {kind: [] for kind in eyes}
    missing, lines = {"with": 0, "without": 0}, []
    made_of = {name: seeds_of(work / MADE / name) for name in index["people"]}
    for name, about in index["people"].items():
        if not made_of[name]:
            say(f"{name} is left out: nothing was made.")
            continue
        names = [*about["trained"], *about["held_out"]]
        photos = faces_of([people / name / one for one in names], vision)
        shown = [photos[one] for one in names]
        made = {
            kind: [faces_of([folder / f"{kind}-{i}.png" for i in range(len(index["templates"]))], vision)
                   for folder in made_of[name]]
            for kind in ("with", "without")
        }  # fmt: skip
        for kind, found in made.items():
            missing[kind] += sum(len(index["templates"]) - len(faces) for faces in found)
        for kind, eye in eyes.items():
            rows[kind].append(person_row(eye, shown, len(about["trained"]), made, len(index["templates"])))
            told = rows[kind][-1]
            said = f"{np.mean(told.floors):.3f} to {np.mean(told.values):.3f} (photos {told.ceiling:.3f})"
            say(f"{name}, {eye.name}: {said}, copying {np.mean(told.copying or [0]):+.2f}")
        lines.append(line_of(shown[-1][0], work, made_of[name]))
    if not lines:
        raise SystemExit(f"Nothing of these people lies in {work / MADE}: run the stage train first.")
    sheet(lines, work / "people.jpg")
    count = sum(len(made_of[name]) for name in made_of) * len(index["templates"])
    row = {
        "people": len(lines),
        "templates": len(index["templates"]),
        "seeds": max(map(len, made_of.values())),
        "steps": steps,
        "face_found_without_and_with": [round(1 - missing[kind] / count, 4) for kind in ("without", "with")],
        **{kind: summed_up(eye, rows[kind]) for kind, eye in eyes.items()},
    }
    pictures.write_bytes(work / "people_row.json", json.dumps(row, indent=1).encode())
    return row


def seeds_of(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if path.is_dir()), key=lambda path: int(path.name))


def person_row(
    eye: Onlooker[Any],
    shown: Sequence[tuple[Image, Face]],
    trained: int,
    made: Mapping[str, Sequence[Mapping[str, tuple[Image, Face]]]],
    templates: int,
) -> PersonRow:
    """Compare what was made with each seed with the photos, of which the first ``trained`` were trained on."""
    photos = [eye.describe(*face) for face in shown]
    among = eye.table(photos, photos)

    def likenesses(kind: str) -> list[float]:
        tables = [eye.table([eye.describe(*face) for face in found.values()], photos) for found in made[kind]]
        held = [(table[:, trained:], templates - len(table)) for table in tables]
        found = [numbers.likeness_to(table, absent, eye.calibration) for table, absent in held]
        return [value for value in found if value is not None]

    copied = [
        numbers.copying(eye.table([eye.describe(*face) for face in found.values()], photos), among, trained)
        for found in made["with"]
    ]
    ceiling = numbers.likeness_to(among[:trained, trained:], 0, eye.calibration)
    assert ceiling is not None
    copying = tuple(value for value in copied if value is not None)
    return PersonRow(tuple(likenesses("with")), tuple(likenesses("without")), copying, ceiling)


def _share(apart: Sequence[float], gains: Sequence[float]) -> float | None:
    """The median distance of two trainings as a share of the median gain; None without a second training."""
    return round(float(np.median(apart)) / max(1e-3, float(np.median(gains))), 4) if apart else None


def summed_up(eye: Onlooker[Any], people: Sequence[PersonRow]) -> Row:
    """Medians over the people with their 95% bootstrap intervals, in units of the embedder's calibration, and as
    cosines; and how far the seeds of one person are apart, also as a share of the gain. Seeds train otherwise and draw
    the templates from other noise."""
    known, units = eye.calibration, eye.calibration.unit

    def median(values: Sequence[float]) -> Row:
        return {"median": round(float(np.median(values)), 4), "interval": interval(values)}

    values, floors = ([float(np.mean(one)) for one in found]
                      for found in ([p.values for p in people], [p.floors for p in people]))  # fmt: skip
    ways = [(v - f) / max(1e-3, p.ceiling - f) for v, f, p in zip(values, floors, people, strict=True)]
    apart = [units(max(p.values)) - units(min(p.values)) for p in people if len(p.values) > 1]
    gains = [units(v) - units(f) for v, f in zip(values, floors, strict=True)]
    copying = [float(np.mean(p.copying)) for p in people if p.copying]
    return {
        "embedder": eye.name,
        "value": median([units(v) for v in values]),
        "floor": median([units(f) for f in floors]),
        "ceiling": median([units(p.ceiling) for p in people]),
        "threshold": round(units(known.threshold), 4),
        "gain": median(gains),
        "way": median(ways),
        "higher_for": f"{sum(v > f for v, f in zip(values, floors, strict=True))} of {len(people)}",
        "above_threshold": f"{sum(v >= known.threshold for v in values)} of {len(people)}",
        "seeds_apart": None if not apart else {"people": len(apart), **median(apart)},
        "seeds_apart_of_gain": _share(apart, gains),
        "copying": None if not copying else median(copying),
        "cosines": {
            "value": round(float(np.median(values)), 4),
            "floor": round(float(np.median(floors)), 4),
            "ceiling": round(float(np.median([p.ceiling for p in people])), 4),
        },
    }


def line_of(photo: Image, work: Path, seeds: Sequence[Path]) -> list[Image]:
    """One line of the sheet: a photo that was held out, the first template, and it without and with each LoRA."""
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    template = pictures.load(work / PREPARED / "templates" / "0.png")
    made = [pictures.load(folder / f"{kind}-0.png") for kind in ("without", "with") for folder in seeds]
    return [cv2.resize(photo[top : top + side, left : left + side], (SIZE, SIZE)).astype(np.uint8), template, *made]


if __name__ == "__main__":
    main()
