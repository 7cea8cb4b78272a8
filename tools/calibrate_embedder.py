"""Measure what the packaged embedder's cosines mean, and write easyphoto/vision/backends/data/dlib_embedding.json.

    python tools/calibrate_embedder.py STRANGERS [--same PEOPLE] [--out FILE] [--limit N]

STRANGERS: a folder, searched deeply, of portraits of people who are all different. Their mean descriptor is what the
embedder subtracts. PEOPLE: a folder with one folder of photos for each person; pairs within a folder are the same
person. Without it the figures for one person are taken from the distances that dlib's author and users publish.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image
from easyphoto.vision import registry

Vectors = NDArray[np.float64]
OUT = Path(__file__).parent.parent / "easyphoto" / "vision" / "backends" / "data" / "dlib_embedding.json"


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
    print(f"{len(strangers)} strangers: cosine {apart.mean():.3f} +- {apart.std():.3f}, "
          f"99th percentile {np.percentile(apart, 99):.3f}")  # fmt: skip
    together = same_person(options.same, vision, describe, mean) if options.same else np.array([0.62, 0.48])
    print(f"same person: cosine {together.mean():.3f} +- {together.std():.3f} of {len(together)} pairs, "
          f"5th percentile {np.percentile(together, 5):.3f}")  # fmt: skip
    source = (
        f"same person: {len(together)} pairs of {options.same_said}; "
        f"strangers: {len(apart)} pairs of {len(strangers)} {options.strangers_said}"
    )
    write(options.out, mean, together, apart, source)


def descriptors(folder: Path, vision: Any, describe: Any, limit: int) -> Iterator[tuple[Path, Vectors]]:
    """Of each picture in which exactly one face is found: its path and dlib's descriptor."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for path in files[:: max(1, -(-len(files) // limit))]:
        image = read(path)
        faces = vision.detector.detect(image)
        if len(faces) == 1:
            yield path, describe(image, faces[0]).astype(np.float64)


def same_person(folder: Path, vision: Any, describe: Any, mean: Vectors) -> Vectors:
    """The cosines of all pairs within each person's folder."""
    found: list[Vectors] = []
    for person in sorted(p for p in folder.iterdir() if p.is_dir()):
        vectors = np.array([v for _, v in descriptors(person, vision, describe, 10_000)])
        if len(vectors) > 1:
            found.append(cosines(centred(vectors, mean), list(combinations(range(len(vectors)), 2))))
    return np.concatenate(found)


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


def write(path: Path, mean: Vectors, together: Vectors, apart: Vectors, source: str) -> None:
    calibration = {
        "same_mean": round(float(together.mean()), 3),
        "same_std": round(float(together.std()), 3),
        "stranger_mean": round(float(apart.mean()), 3),
        "stranger_std": round(float(apart.std()), 3),
        "source": source,
    }
    measured = {"calibration": calibration, "mean": [round(float(v), 6) for v in mean]}
    path.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
