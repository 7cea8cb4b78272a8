"""Measure what the packaged embedder's cosines mean, and write easyphoto/vision/backends/data/dlib_embedding.json.

    python tools/calibrate_embedder.py STRANGERS [--same PEOPLE] [--out FILE] [--limit N]

STRANGERS: a folder, searched deeply, of portraits of people who are all different. Their mean descriptor is what the
embedder subtracts. PEOPLE: a folder with one folder of photos for each person: pairs within a folder are the same
person, pairs across folders are printed beside the strangers, to see whether those are like real ones. Without PEOPLE
the figures for one person stay as they are in the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto.ports import Image  # noqa: E402
from easyphoto.vision import registry  # noqa: E402

Vectors = NDArray[np.float64]
OUT = ROOT / "easyphoto" / "vision" / "backends" / "data" / "dlib_embedding.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("strangers", type=Path)
    parser.add_argument("--same", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many portraits")
    parser.add_argument("--strangers-said", default="synthetic portraits of different adults")
    parser.add_argument("--same-said", default="photos of the same person")
    options = parser.parse_args()
    vision = registry.create(Path("models"))
    describe = vision.embedder.describe  # type: ignore[attr-defined]

    strangers = np.array([v for _, v in descriptors(options.strangers, vision, describe, options.limit)])
    mean = strangers.mean(0)
    apart = cosines(centred(strangers, mean), pairs(len(strangers)))
    say("strangers", apart)
    calibration = dict(json.loads(options.out.read_text("utf-8"))["calibration"])
    calibration |= figures("stranger", apart)
    sources = [f"strangers: {len(apart)} pairs of {len(strangers)} {options.strangers_said}"]
    if options.same:
        together, across = known_people(options.same, vision, describe, mean)
        say("same person", together)
        say("different people of the same folder", across)
        calibration |= figures("same", together)
        sources.insert(0, f"same person: {len(together)} pairs of {options.same_said}")
        spread = f"{across.mean():.2f} +- {across.std():.2f}"
        sources.append(f"for comparison, {len(across)} pairs of different people among the photos: {spread}")
        calibration["source"] = "; ".join(sources)
    write(options.out, mean, calibration)


def descriptors(folder: Path, vision: Any, describe: Any, limit: int) -> Iterator[tuple[Path, Vectors]]:
    """Of each picture in which exactly one face is found: its path and dlib's descriptor."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for path in files[:: max(1, -(-len(files) // limit))]:
        image = read(path)
        faces = vision.detector.detect(image)
        if len(faces) == 1:
            yield path, describe(image, faces[0]).astype(np.float64)


def known_people(folder: Path, vision: Any, describe: Any, mean: Vectors) -> tuple[Vectors, Vectors]:
    """The cosines of all pairs within each person's folder, and of all pairs across two folders."""
    people = [
        centred(np.array(vectors), mean)
        for person in sorted(p for p in folder.iterdir() if p.is_dir())
        if (vectors := [v for _, v in descriptors(person, vision, describe, 10_000)])
    ]
    together = [cosines(v, list(combinations(range(len(v)), 2))) for v in people if len(v) > 1]
    across = [(a @ b.T).ravel() for a, b in combinations(people, 2)]
    return np.concatenate(together), np.concatenate(across)


def pairs(count: int, most: int = 200_000) -> list[tuple[int, int]]:
    every = list(combinations(range(count), 2))
    chosen = np.random.default_rng(0).permutation(len(every))[:most]
    return [every[i] for i in chosen]


def centred(vectors: Vectors, mean: Vectors) -> Vectors:
    off = vectors - mean
    return np.asarray(off / np.linalg.norm(off, axis=1, keepdims=True))


def cosines(vectors: Vectors, chosen: list[tuple[int, int]]) -> Vectors:
    return np.array([vectors[i] @ vectors[j] for i, j in chosen])


def read(path: Path) -> Image:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    image: Image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return image


def say(what: str, found: Vectors) -> None:
    low, middle, high = np.percentile(found, [1, 50, 99])
    print(f"{what}: {len(found)} pairs, cosine {found.mean():.3f} +- {found.std():.3f}, "
          f"percentiles 1, 50, 99: {low:.3f} {middle:.3f} {high:.3f}")  # fmt: skip


def figures(kind: str, found: Vectors) -> dict[str, float]:
    return {f"{kind}_mean": round(float(found.mean()), 3), f"{kind}_std": round(float(found.std()), 3)}


def write(path: Path, mean: Vectors, calibration: dict[str, Any]) -> None:
    measured = {"calibration": calibration, "mean": [round(float(v), 6) for v in mean]}
    path.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
