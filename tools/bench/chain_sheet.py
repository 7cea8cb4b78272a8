"""Sheets and numbers of what the chain makes of synthetic people: run it before and after a change, and look.

    python tools/bench/chain_sheet.py --name before --people a.jpg,b.jpg --templates c.jpg
    python tools/bench/chain_sheet.py --name after --people a.jpg,b.jpg --templates c.jpg --against before

A person is one portrait, turned, cropped and lit six times as the demo does with its photo, and trained once by the
defaults of the bench family (``easyphoto/families/bench.py``), without validation. People are kept in the folder
``--work`` as they were trained: take another one where the defaults have changed. ``--set fusion_only=true`` makes
portraits by fusion alone. Each run writes its portraits, one JSON file and a sheet a person: for each template the
template, what earlier runs made of it (``--against``), and what is made now. Tune on one set of templates and report on
another.

The likeness is that to the person's one picture, which face fusion bends into the portrait: it says whether a change
loses likeness, and nothing about likeness to photos that nobody has seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchkit import MODEL_DIR, PORTRAITS, WORK, Image, find_project, say
from chain_measures import change

FIRST_STEPS, SECOND_STEPS, SEED = 20, 10, 1
CELL = 256
Row = dict[str, Any]


class Workshop:
    """The project's service on the bench checkpoint, with people who stay in ``folder``."""

    def __init__(self, folder: Path, portraits: Path, reporter: Path | None, model: Path = MODEL_DIR) -> None:
        find_project()
        from easyphoto.cli.standalone import build
        from easyphoto.config import Paths
        from easyphoto.vision import registry
        from easyphoto.vision.backends import tfjs_faces

        self.folder, self._portraits = folder, portraits
        paths = replace(Paths.standalone(), bench=model, outputs=folder / "outputs", loras=folder / "loras")
        self._service: Any = build(paths)
        self._vision: Any = registry.create(folder / "no-weights")
        self._reporter: Any = None
        if reporter is not None:
            files = reporter / "faceres.json", reporter / "faceres.bin"
            self._reporter = tfjs_faces.TfjsReporter(tfjs_faces.FACERES, *files)

    def person(self, file: str) -> str:
        """The user id of the person of a portrait, who is trained if that was not done before."""
        from easyphoto import families
        from easyphoto.config import Family
        from easyphoto.service import TrainRequest

        name = trained_id(file)
        if self.has_trained(name):
            return name
        photos = self._photos(file)
        config = families.spec(Family.BENCH).train_config(validation=False)
        say(f"training {name}")
        self._service.train(TrainRequest(name, photos, config)).wait()
        return name

    def untrained(self, file: str) -> str:
        """The user id of the person of a portrait, who is added from photos alone if that was not done before."""
        name = untrained_id(file)
        if not self.has_added(name):
            self._service.add_person(name, self._photos(file))
        return name

    def has_trained(self, user_id: str) -> bool:
        """Whether somebody of this id was trained to the end."""
        return (self.folder / "loras" / f"{user_id}.safetensors").is_file()

    def has_added(self, user_id: str) -> bool:
        """Whether somebody of this id was added from photos."""
        return any(person.user_id == user_id for person in self._service.people.list())

    def _photos(self, file: str) -> tuple[Path, ...]:
        """The photos of the person of a portrait, written below the folder."""
        from easyphoto import pictures
        from easyphoto.cli import demo

        folder = self.folder / "photos" / Path(file).stem
        folder.mkdir(parents=True, exist_ok=True)
        photos = []
        for number, photo in enumerate(demo.photos(pictures.load(self._portraits / file))):
            photos.append(folder / f"{number}.png")
            pictures.save_png(photos[-1], photo)
        return tuple(photos)

    def make(self, who: str, templates: Sequence[Path], changes: Row) -> list[dict[str, Image] | None]:
        """The stages of a portrait on each template, None where it failed."""
        made = {one.template: {**one.stages, "final": one.image} for one in self.portraits(who, templates, changes)}
        return [made.get(index) for index in range(len(templates))]

    def portraits(self, who: str, templates: Sequence[Path], changes: Row) -> list[Any]:
        """The portraits that came off, each an :class:`easyphoto.ports.Portrait`."""
        from easyphoto.config import PortraitConfig, from_mapping
        from easyphoto.service import PortraitRequest

        usual = {"seed": SEED, "first_diffusion_steps": FIRST_STEPS, "second_diffusion_steps": SECOND_STEPS}
        wanted = {**usual, **changes}
        config, chosen = from_mapping(PortraitConfig, wanted), frozenset(wanted)
        request = PortraitRequest((who,), tuple(templates), config, keep_stages=True, chosen=chosen)
        result = self._service.generate(request).wait()
        for failure in result.failures:
            say(f"{who} on {templates[failure.template].stem}: {failure.message}")
        return list(result.portraits)

    def sharpness(self, portrait: Image) -> float | None:
        """That of the face, None where none is found."""
        from easyphoto.vision import sharpness

        face = self._face(portrait)
        return None if face is None else float(sharpness.sharpness(portrait, face))

    def measure(self, portrait: Image, template: Image, own: Image) -> Row:
        """How the portrait differs from the template, and how alike it and the person's picture are."""
        face = self._face(template)
        parts = self._vision.parser.parse(template, face)
        from easyphoto.vision import masks

        row: Row = asdict(change(portrait, template, masks.close_holes(parts.face)))
        found, person = self._face(portrait), self._face(own)
        if found is None:
            return row
        judge = self._vision.embedder
        row["judge"] = float(judge.embed(portrait, found) @ judge.embed(own, person))
        if self._reporter is not None:
            row["reporter"] = self._reporter.witness(portrait, found).cosine(self._reporter.witness(own, person))
        return row

    def cut(self, picture: Image, template: Image) -> Image:
        """The part of a picture of the template's size that shows its face, at the size of a cell."""
        from easyphoto.vision import geometry

        crop = geometry.face_crop(self._face(template), 2.0, (template.shape[0], template.shape[1]))
        return geometry.resize(geometry.cut(picture, crop), (CELL, CELL))

    def _face(self, picture: Image) -> Any:
        from easyphoto.vision import largest

        return largest(self._vision.detector.detect(picture))


def trained_id(file: str) -> str:
    """The user id of the person of a portrait who was trained."""
    return Path(file).stem


def untrained_id(file: str) -> str:
    """That of one who was only added from the same photos."""
    return f"{Path(file).stem} untrained"


def summary(rows: Sequence[Row]) -> Row:
    """The mean of each measure over the portraits that have it, and how many portraits there are."""
    names = ("ring", "detail", "step", "judge", "reporter")
    known = {name: [row[name] for row in rows if name in row] for name in names}
    means = {name: round(float(np.mean(values)), 3) for name, values in known.items() if values}
    return {**means, "portraits": len(rows), "faces": len(known["judge"])}


def run(shop: Workshop, options: argparse.Namespace) -> list[Row]:
    """Make and measure all portraits, and draw the sheets."""
    from easyphoto import pictures

    changes: Row = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in options.set)}
    files = [options.portraits / name for name in options.templates.split(",")]
    loaded = [pictures.load(file) for file in files]
    out, rows = options.work / options.name, []
    for name in options.people.split(","):
        who, own = shop.person(name), pictures.load(options.portraits / name)
        lines = []
        for file, template, made in zip(files, loaded, shop.make(who, files, changes), strict=True):
            if made is None:
                continue
            stem = f"{who}-{file.stem}"
            for stage, picture in made.items():
                pictures.save_png(_path(out, stem, stage), picture)
                if stage in ("fusion", "first", "final"):
                    measured = shop.measure(picture, template, own)
                    rows.append({"who": who, "on": file.stem, "stage": stage, **measured})
            before = [_path(options.work / other, stem, "final") for other in options.against]
            shown = [template, *(pictures.load(path) for path in before), *(made[s] for s in options.stages.split(","))]
            lines.append(np.hstack([shop.cut(picture, template) for picture in shown]))
        pictures.save_jpg(out / f"{who}.jpg", np.vstack(lines), 90)
    return rows


def _path(folder: Path, stem: str, stage: str) -> Path:
    path = folder / stage / f"{stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="what the run is called")
    parser.add_argument("--people", required=True, help="portraits of people, with commas between")
    parser.add_argument("--templates", required=True, help="portraits as templates, with commas between")
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--work", type=Path, default=WORK / "chain")
    parser.add_argument("--against", action="append", default=[], help="an earlier run; may be given again")
    parser.add_argument("--stages", default="final", help="the stages on the sheet, with commas between")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter, as JSON")
    parser.add_argument("--reporter", type=Path, help="folder with faceres.json and faceres.bin")
    options = parser.parse_args()
    rows = run(Workshop(options.work, options.portraits, options.reporter), options)
    found = {stage: summary([row for row in rows if row["stage"] == stage]) for stage in ("fusion", "first", "final")}
    path = options.work / options.name / "measured.json"
    path.write_text(json.dumps({"mean": found, "rows": rows}, indent=1), encoding="utf-8")
    for stage, line in found.items():
        say(f"{options.name} {stage:7}{json.dumps(line)}")


if __name__ == "__main__":
    main()
