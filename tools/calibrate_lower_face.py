"""Learn to see what covers the lower half of a face, and write the weights of ``easyphoto/vision/lower_face.py``.

    python tools/calibrate_lower_face.py PORTRAITS [--limit N] [--out FOLDER]

PORTRAITS: a folder, searched deeply, of portraits of different people on which nothing covers the face. Over each of
them a mask, a hand and a phone are drawn (``coverings.py``), and a linear function is fitted that tells these from the
portraits as they are. A third of the people is kept out of the fit, and what it makes of them is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from coverings import COVERINGS
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto.ports import Image, Points  # noqa: E402
from easyphoto.training.photo_coach import COVERED  # noqa: E402
from easyphoto.vision import landmarks  # noqa: E402
from easyphoto.vision.backends.dlib_faces import model_file  # noqa: E402
from easyphoto.vision.lower_face import aligned, features  # noqa: E402

OUT = ROOT / "easyphoto" / "vision" / "backends" / "data"
SIDE = 320
"""The portraits are brought to this side, in which dlib finds a large face quickly."""
JITTER = 0.02
"""The points are looked for in a box that is moved by about so many widths, as another detector would have it."""
RIDGE = 3.0
DIGITS = 4


@dataclass(frozen=True)
class Seen:
    """One person: the face as it is, and with each thing over it, both aligned."""

    bare: Image
    covered: dict[str, Image]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many portraits, evenly from all")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    paths = sorted(p for p in options.portraits.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    seen = list(people(paths[:: max(1, -(-len(paths) // options.limit))]))
    kept, unseen = [one for i, one in enumerate(seen) if i % 3], seen[::3]
    weights, offset = fitted(*examples(kept, np.random.default_rng(0)))
    told = {name: shares(values, weights, offset) for name, values in groups(unseen).items()}
    for name, share in told.items():
        print(f"{name}: {share:.1%} of {len(unseen)} people who were not learned from seem covered")
    data = {
        "of": f"{len(kept)} synthetic portraits, each bare and with a mask, a hand and a phone drawn over it",
        "unseen": {"people": len(unseen), "covered": {name: round(share, 4) for name, share in told.items()}},
        "offset": round(offset, DIGITS),
        "weights": [round(float(value), DIGITS) for value in weights],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "lower_face.json").write_text(json.dumps(data) + "\n", "utf-8")


def people(paths: Sequence[Path]) -> Iterator[Seen]:
    """The people on the portraits in which dlib finds a face."""
    import dlib

    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))
    for number, path in enumerate(paths):
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        image: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        scale = SIDE / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes = detector(image, 0)
        if not boxes:
            continue
        box, rng = max(boxes, key=lambda found: found.width()), np.random.default_rng(number)

        def located(shown: Image, box: Any = box, rng: np.random.Generator = rng) -> Points:
            left, top, right, bottom = np.array([box.left(), box.top(), box.right(), box.bottom()]) + rng.normal(
                0, JITTER * box.width(), 4
            )
            shape = predictor(shown, dlib.rectangle(round(left), round(top), round(right), round(bottom)))
            return np.array([[p.x, p.y] for p in shape.parts()], np.float32)

        points = located(image)
        drawn = {name: draw(image, points, rng) for name, draw in COVERINGS.items()}
        yield Seen(
            aligned(image, landmarks.face_of(points)),
            {name: aligned(shown, landmarks.face_of(located(shown))) for name, shown in drawn.items()},
        )


def examples(seen: Sequence[Seen], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The features (n, d) of bare faces and covered ones, of their mirror images, and of worse pictures of them; and
    which are covered."""
    found, covered = [], []
    for one in seen:
        for face, over in ((one.bare, False), *((face, True) for face in one.covered.values())):
            mirrored = np.ascontiguousarray(face[:, ::-1])
            for shown in (face, worse(face, rng)) if over else (face, mirrored, worse(face, rng)):
                found.append(features(shown))
                covered.append(over)
    return np.array(found), np.array(covered)


def worse(face: Image, rng: np.random.Generator) -> Image:
    """The face blurred, darker, badly saved, or lit from one side."""
    kind = int(rng.integers(4))
    if kind == 0:
        made: Any = cv2.GaussianBlur(face, (0, 0), float(rng.uniform(0.5, 2)))
    elif kind == 1:
        made = face * float(rng.uniform(0.4, 0.9))
    elif kind == 2:
        saved = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 60))])[1]
        made = cv2.imdecode(saved, cv2.IMREAD_COLOR)
    else:
        made = face * np.linspace(rng.uniform(0.5, 1), rng.uniform(0.8, 1.3), face.shape[1])[None, :, None]
    return np.asarray(np.clip(made, 0, 255), np.uint8)


def fitted(found: NDArray[np.float32], covered: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """The weights and the offset of the ridge regression to 1 for covered faces and -1 for bare ones, both kinds
    counting the same."""
    share = float(covered.mean())
    counts = np.where(covered, 0.5 / share, 0.5 / (1 - share))
    goal = np.where(covered, 1.0, -1.0)
    middle, level = found.mean(0), float(np.average(goal, weights=counts))
    centred = (found - middle).astype(np.float64)
    counted = centred * counts[:, None]
    weights = np.linalg.solve(counted.T @ centred + RIDGE * np.eye(centred.shape[1]), counted.T @ (goal - level))
    return weights, level - float(middle @ weights)


def groups(seen: Sequence[Seen]) -> dict[str, list[Image]]:
    return {"bare": [one.bare for one in seen], **{name: [one.covered[name] for one in seen] for name in COVERINGS}}


def shares(faces: Sequence[Image], weights: NDArray[np.float64], offset: float) -> float:
    """The share of the faces that seem covered to the coach."""
    return float(np.mean([float(features(face) @ weights + offset) > COVERED for face in faces]))


if __name__ == "__main__":
    main()
