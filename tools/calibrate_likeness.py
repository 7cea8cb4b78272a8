"""Measure what an embedder's cosines mean, whether it judges or reports, and write its calibration file.

    python tools/calibrate_likeness.py STRANGERS --same PEOPLE
        [--models FOLDER] [--embedder NAME] [--limit N] [--out FOLDER]

STRANGERS: a folder, searched deeply, of portraits of people who are all different: all their pairs are strangers.
PEOPLE: a folder with one folder of photos for each person: pairs within a folder are the same person, and pairs across
folders are printed beside the strangers, to see whether those are like real ones. Pictures in which not exactly one
face is found are left out. ``--embedder`` names who is measured: dlib-resnet, or a reporter whose weights lie in
``--models``. The file is ``calibration-NAME.json``, by default among the data of the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto.ports import Face, FaceDetector, Image  # noqa: E402
from easyphoto.vision import registry, reporters  # noqa: E402
from easyphoto.vision.backend import Context  # noqa: E402
from easyphoto.vision.landmarks import of as landmarks_of  # noqa: E402

OUT = ROOT / "easyphoto" / "vision" / "backends" / "data"
PERCENTILES = (0.1, 1, 5, 25, 50, 75, 95, 99, 99.9)
FALSE_ACCEPTS = {"far_1": 99.0, "far_01": 99.9}
"""The thresholds, and the percentile of the strangers at which each lies."""

Cosines: TypeAlias = NDArray[np.float64]
Describe: TypeAlias = Callable[[Image, Face], NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("strangers", type=Path)
    parser.add_argument("--same", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--embedder", default="dlib-resnet")
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many strangers, evenly from all")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--strangers-said", default="synthetic portraits of different adults")
    parser.add_argument("--same-said", default="photos")
    options = parser.parse_args()
    vision = registry.create(options.models)
    describe = described_by(options.embedder, options.models)
    strangers = np.array(list(vectors(options.strangers, vision.detector, describe, options.limit)))
    people = [
        np.array(found)
        for folder in sorted(p for p in options.same.iterdir() if p.is_dir())
        if (found := list(vectors(folder, vision.detector, describe)))
    ]
    same_said = f"{sum(map(len, people))} {options.same_said} of {len(people)} people"
    calibration = calibrate(strangers, people, f"{len(strangers)} {options.strangers_said}", same_said)
    say(options.embedder, calibration)
    write(options.out / f"calibration-{options.embedder}.json", {"embedder": options.embedder, **calibration})


def described_by(name: str, models: Path) -> Describe:
    """How the embedder of that name describes a face: by a vector of length 1."""
    vision = registry.create(models)
    context = Context(models, vision, lambda image, face: landmarks_of(vision, image, face))
    for backend in reporters.REPORTERS:
        if backend.name == name:
            reporter = backend.factory(context)
            return lambda image, face: reporter.witness(image, face).numbers
    embedder = vision.preferring({"embedder": name}).embedder
    return embedder.embed


def vectors(
    folder: Path, detector: FaceDetector, describe: Describe, limit: int = 10_000
) -> Iterator[NDArray[np.float32]]:
    """The vector of each picture in which exactly one face is found, in the order of the paths."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for path in files[:: max(1, -(-len(files) // limit))]:
        image = read(path)
        faces = detector.detect(image)
        if len(faces) == 1:
            yield describe(image, faces[0])


def calibrate(
    strangers: NDArray[np.float32], people: Sequence[NDArray[np.float32]], strangers_said: str, same_said: str
) -> dict[str, Any]:
    """What the file says. ``strangers`` are vectors (n, d) of different people, and ``people`` those of each person's
    photos. The thresholds are those of the strangers, and ``accepted`` is the share of one person's pairs that reach
    each of them."""
    apart = within(strangers)
    together = np.concatenate([within(photos) for photos in people])
    found = [(a @ b.T).ravel() for i, a in enumerate(people) for b in people[i + 1 :]]
    across = np.asarray(np.concatenate(found) if found else [], np.float64)
    thresholds = {name: float(np.percentile(apart, at)) for name, at in FALSE_ACCEPTS.items()}
    return {
        "same": {"of": same_said, **distribution(together)},
        "strangers": {"of": strangers_said, **distribution(apart)},
        "across": {"of": f"different people among the {same_said}", **distribution(across)},
        "thresholds": {name: round(value, 4) for name, value in thresholds.items()},
        "accepted": {name: round(float(np.mean(together >= value)), 4) for name, value in thresholds.items()},
    }


def within(found: NDArray[np.float32]) -> Cosines:
    """The cosines of all pairs of the vectors (n, d)."""
    first, second = np.triu_indices(len(found), 1)
    return np.asarray(found @ found.T, np.float64)[first, second]


def distribution(cosines: Cosines) -> dict[str, Any]:
    """The number of pairs, and the mean, the standard deviation and the percentiles of their cosines."""
    if not len(cosines):
        return {"pairs": 0, "mean": 0.0, "std": 0.0, "percentiles": {}}
    return {
        "pairs": len(cosines),
        "mean": round(float(cosines.mean()), 4),
        "std": round(float(cosines.std()), 4),
        "percentiles": {f"{at:g}": round(float(np.percentile(cosines, at)), 4) for at in PERCENTILES},
    }


def read(path: Path) -> Image:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    image: Image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return image


def say(embedder: str, calibration: dict[str, Any]) -> None:
    for kind in ("same", "strangers", "across"):
        found = calibration[kind]
        print(f"{embedder}, {kind}: {found['pairs']} pairs of {found['of']}, {found['mean']:.3f} +- {found['std']:.3f}")
    for name, value in calibration["thresholds"].items():
        print(f"{embedder}, {name}: {value:.3f}, reached by {calibration['accepted'][name]:.1%} of the same person")


def write(path: Path, calibration: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(calibration, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
