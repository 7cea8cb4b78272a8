"""Make people with several different photos each, out of synthetic portraits that each show another person.

    python tools/bench/made_people.py --portraits FOLDER --models FOLDER --out FOLDER [--people N] [--photos N]

There is one portrait of each person. Other photos are made of it: the head turned, nodding and smiling by warps
(`warped_clips.py`), in another light and colour, older or smoother, and half of them redrawn by the bench model at a
low strength. A photo is accepted only if judge and reporter both call it the person of the portrait and of every photo
accepted before, at the threshold that one of 100 pairs of strangers reaches. Of those that are, the next photo is the
one least like those that are there. The portraits are held-out ones, which the checkpoint never saw. `--models` is a
models folder in which a reporter lies.

It writes a folder for each person, as `people_row.py --people` reads them, `templates` beside for its `--templates`,
and `made_people.json`: how alike the photos of each person are, by both embedders.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchkit import MODEL_DIR, PORTRAITS, SIZE, WORK, Image, find_project, held_out, say
from warped_clips import SOURCE, Portraits, render

find_project()
from easyphoto import pictures, reporting, sd  # noqa: E402
from easyphoto.measures import onlookers  # noqa: E402
from easyphoto.measures.onlookers import Onlooker  # noqa: E402
from easyphoto.ports import Face, Img2Img, Vision  # noqa: E402
from easyphoto.sd import render as renderer  # noqa: E402
from easyphoto.training import crops  # noqa: E402
from easyphoto.vision import geometry, landmarks, largest, registry  # noqa: E402

AROUND = 2.6
"""The portrait is cut so many faces wide."""
CANDIDATES = 18
"""So many photos are made of a portrait, of which a few are accepted."""
REDRAWN, STEPS = 0.38, 20
"""At what strength the bench model redraws a photo."""
WORDS = ("smiling", "serious", "surprised, open mouth", "looking aside", "outdoors", "by lamplight")
Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """A photo that was accepted, and how each embedder describes it, in the order of the onlookers."""

    picture: Image
    described: tuple[Any, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--models", type=Path, required=True, help="a models folder with a reporter in it")
    parser.add_argument("--checkpoint", type=Path, default=MODEL_DIR)
    parser.add_argument("--out", type=Path, default=WORK / "made-people")
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--templates", type=int, default=4)
    options = parser.parse_args()
    vision = registry.create(options.models)
    reporter = reporting.of(vision)
    if reporter is None:
        raise SystemExit(f"There is no reporter in {options.models}, and two embedders have to agree.")
    eyes: list[Onlooker[Any]] = [onlookers.judge(vision.embedder), onlookers.second(reporter)]
    parts = sd.load(options.checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    files = {path.relative_to(options.portraits).as_posix(): path for path in options.portraits.rglob("*.jpg")}
    unseen = [files[name] for name in sorted(held_out(files))]
    told: dict[str, Row] = {}
    for path in unseen[2 :: max(1, len(unseen) // (2 * options.people))]:
        if len(told) == options.people:
            break
        rng = np.random.default_rng([17, len(told), *path.stem.encode()])
        kept = accepted(made_of(path, vision, parts, rng), vision, eyes, options.photos)
        if len(kept) < options.photos:
            say(f"{path.name} is left out: {len(kept)} photos of it were accepted.")
            continue
        name = f"made-{len(told)}"
        for number, one in enumerate(kept):
            pictures.save_png(options.out / "people" / name / f"{number}.png", one.picture)
        told[name] = {"portrait": path.name, **alike(kept, eyes)}
        say(f"{name}: {told[name]}")
    for number, path in enumerate(unseen[5 :: max(1, len(unseen) // options.templates)][: options.templates]):
        pictures.save_png(options.out / "templates" / f"{number}.png", pictures.load(path))
    pictures.write_bytes(options.out / "made_people.json", json.dumps(told, indent=1).encode())


def made_of(path: Path, vision: Vision, parts: Any, rng: np.random.Generator) -> Iterator[Image]:
    """The portrait, and then photos that are made of it; nothing where no face is found."""
    portraits = loaded(path, vision)
    if portraits is None:
        return
    yield as_photo(portraits.pictures[0].permute(1, 2, 0).numpy())
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    warped = render(portraits, torch.zeros(CANDIDATES, dtype=torch.long), 1, generator)[:, 0]
    for number, one in enumerate(warped):
        picture = picture_of(one)
        if number % 2:
            picture = redrawn(picture, parts, WORDS[number // 2 % len(WORDS)], number)
        yield relit(aged(picture, rng), rng)


def loaded(path: Path, vision: Vision) -> Portraits | None:
    """The portrait cut around its face, as it is warped; None where no face is found."""
    image = pictures.load(path)
    face = largest(vision.detector.detect(image))
    if face is None:
        return None
    crop = crops.square(face, AROUND, (image.shape[0], image.shape[1]))
    cut = geometry.cut(image, crop)
    scale = SOURCE / cut.shape[0]
    points = landmarks.of(vision, cut, geometry.in_crop(face, crop)) * np.float32(scale)
    source = torch.from_numpy(geometry.resize(cut, (SOURCE, SOURCE))).permute(2, 0, 1)[None]
    return Portraits(source, torch.from_numpy(points.astype(np.float32))[None], [0])


def as_photo(source: Image) -> Image:
    """The portrait in the size of the photos that are made of it."""
    return np.asarray(cv2.resize(source, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def picture_of(frame: torch.Tensor) -> Image:
    """A frame of a clip as a picture."""
    return np.asarray(((frame.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255), np.uint8)


def redrawn(picture: Image, parts: Any, words: str, seed: int) -> Image:
    """The picture as the bench model repaints it a little."""
    height, width = picture.shape[:2]
    job = Img2Img(
        prompt=f"portrait, {words}",
        width=width,
        height=height,
        steps=STEPS,
        sampler="DPM++ 2M Karras",
        cfg_scale=2.0,
        seed=seed,
        image=picture,
        denoising_strength=REDRAWN,
    )
    return renderer.img2img(parts, job).image


def aged(picture: Image, rng: np.random.Generator) -> Image:
    """Older, where fine lines are drawn deeper, or younger, where they are smoothed."""
    smooth = cv2.bilateralFilter(picture, 7, 40, 4).astype(np.float32)
    lines = picture.astype(np.float32) - smooth
    return np.asarray((smooth + float(rng.uniform(0.1, 2.2)) * lines).clip(0, 255).round(), np.uint8)


def relit(picture: Image, rng: np.random.Generator) -> Image:
    """In another light: from one side or from below, brighter or darker, warmer or colder, harder or softer."""
    height, width = picture.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    gain = 1 + float(rng.uniform(-0.45, 0.45)) * across + float(rng.uniform(-0.3, 0.3)) * down
    tint = 1 + np.array([1.0, 0.2, -1.0], np.float32) * float(rng.uniform(-0.12, 0.12))
    lit = (picture.astype(np.float32) / 255) ** float(rng.uniform(0.7, 1.4)) * gain * tint
    return np.asarray((255 * lit * float(rng.uniform(0.8, 1.15))).clip(0, 255).round(), np.uint8)


def accepted(made: Iterator[Image], vision: Vision, eyes: Sequence[Onlooker[Any]], count: int) -> list[Kept]:
    """The portrait and the photos that both embedders call the same person as all that are there, each time the one
    that is least like them; at most ``count``."""
    found = [Kept(image, tuple(eye.describe(image, face) for eye in eyes)) for image, face in faces(made, vision)]
    kept, rest = found[:1], found[1:]
    while len(kept) < count:
        near = {i: nearness(one, kept, eyes) for i, one in enumerate(rest)}
        same = {i: value for i, value in near.items() if value is not None}
        if not same:
            break
        kept.append(rest.pop(min(same, key=lambda i: same[i])))
    return kept


def faces(made: Iterator[Image], vision: Vision) -> Iterator[tuple[Image, Face]]:
    for image in made:
        face = largest(vision.detector.detect(image))
        if face is not None:
            yield image, face


def nearness(one: Kept, kept: Sequence[Kept], eyes: Sequence[Onlooker[Any]]) -> float | None:
    """How like the photos that are there a photo is, in units in which a stranger is 0 and a second photo of the person
    1: by the embedder and the photo that find it most alike. None if an embedder calls it a stranger's."""
    nearest = 0.0
    for place, eye in enumerate(eyes):
        cosines = [eye.compare(one.described[place], other.described[place]) for other in kept]
        known = eye.calibration
        if min(cosines) < known.threshold:
            return None
        nearest = max(nearest, known.unit(max(cosines)))
    return nearest


def alike(kept: Sequence[Kept], eyes: Sequence[Onlooker[Any]]) -> Row:
    """The mean and the lowest cosine of all pairs of the photos, by each embedder."""
    first, second = np.triu_indices(len(kept), 1)
    row: Row = {}
    for place, eye in enumerate(eyes):
        described = [one.described[place] for one in kept]
        cosines = eye.table(described, described)[first, second]
        row[eye.name] = {"mean": round(float(cosines.mean()), 4), "lowest": round(float(cosines.min()), 4)}
    return row


if __name__ == "__main__":
    main()
