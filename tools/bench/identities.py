"""Describe who is on the portraits: dlib's vector of every portrait and of varied views of it, for train_adapter.py.

    python tools/bench/identities.py --portraits ../shared/portraits --out build/bench/embeddings.npz

The vectors are those of the program's own embedder: 128 numbers of length 1, less the mean that it subtracts. There is
only one picture of each person, so the views are made of it as other photos might show it: mirrored, small and badly
compressed, tilted in another light, and from a little aside. The landmarks are looked for again in every view.

The file holds `files` (n), `vectors` (n, k, 128) as float16, where k = 0 is the portrait itself, and `found` (n, k):
False where there is no face, and its vector is zero. A run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from benchkit import PORTRAITS, WORK, Faces, Image, find_project, say
from captions import read
from numpy.typing import NDArray

NARROW = 90
"""So many pixels wide is the face of the small view."""
VIEWS = 5
"""The vectors of each portrait: its own and those of four views."""


@dataclass(frozen=True)
class Varied:
    """A view of a portrait, and the (3, 3) matrix that brought the portrait's pixels there."""

    picture: Image
    matrix: NDArray[np.float64]


def varied(picture: Image, middle: tuple[float, float], width: float, rng: np.random.Generator) -> list[Varied]:
    """The portrait and its four views. The face lies around `middle` and is `width` pixels wide."""
    return [
        Varied(picture, np.eye(3)),
        _mirrored(picture),
        _small(picture, NARROW / max(1.0, width), int(rng.integers(45, 75))),
        _tilted(picture, middle, float(rng.uniform(5, 11) * rng.choice([-1, 1])), rng),
        _aside(picture, float(rng.uniform(0.08, 0.16) * rng.choice([-1, 1])), rng),
    ]


def _mirrored(picture: Image) -> Varied:
    matrix = np.array([[-1.0, 0.0, picture.shape[1] - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return Varied(np.ascontiguousarray(picture[:, ::-1]), matrix)


def _small(picture: Image, scale: float, quality: int) -> Varied:
    """Shrunk by `scale` (never enlarged) and compressed as a JPEG."""
    scale = min(1.0, scale)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return Varied(cast(Image, decoded), np.diag([scale, scale, 1.0]))


def _tilted(picture: Image, middle: tuple[float, float], degrees: float, rng: np.random.Generator) -> Varied:
    """Turned about the face, in another light and colour."""
    turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    turned = cv2.warpAffine(picture, turn, picture.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    tint = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.75, 1.2)
    lit = 255 * (turned / 255.0) ** rng.uniform(0.8, 1.25) * tint
    return Varied(lit.clip(0, 255).round().astype(np.uint8), np.vstack([turn, [0.0, 0.0, 1.0]]))


def _aside(picture: Image, share: float, rng: np.random.Generator) -> Varied:
    """Seen a little from one side: one edge is higher than the other by twice `share`, and the width is less."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    grown = np.array([[0, -share], [0, share], [0, -share], [0, share]], np.float32) * height / 2
    goal = (corners + grown) * np.array([math.cos(3 * share), 1.0], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, goal.astype(np.float32))
    seen = cv2.warpPerspective(picture, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return Varied(cast(Image, cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.3, 1.0)))), matrix)


class Describer:
    """dlib as the program uses it, only straight on the picture: a portrait's face is large enough for whole pixels."""

    def __init__(self) -> None:
        import dlib

        find_project()
        from easyphoto.vision.backends import dlib_faces

        self._dlib, self._faces, self._detector = dlib, Faces(), dlib_faces.DlibDetector()
        self._box_of = dlib_faces.box_of_five
        self._net = dlib_faces.face_net(dlib_faces.model_file("dlib_face_recognition_resnet_model_v1.dat"))
        self._mean = np.array(dlib_faces.measurements()["mean"], np.float32)

    def describe(self, picture: Image, rng: np.random.Generator) -> NDArray[np.float32] | None:
        """Vectors (VIEWS, 128) of the largest face in a portrait and in its views; None where there is none."""
        box = self._box(picture)
        if box is None:
            return None
        middle = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
        views = varied(picture, middle, float(box[2] - box[0]), rng)
        centred = self._net.describe([self._chip(view, box, rng) for view in views]) - self._mean
        return cast(NDArray[np.float32], centred / np.linalg.norm(centred, axis=1, keepdims=True))

    def _box(self, picture: Image) -> NDArray[np.float32] | None:
        """dlib's box of the largest face. The program's own detector, which is slower, sees what that misses."""
        found = self._faces.find(picture)
        if found is not None:
            return found[0]
        faces = self._detector.detect(picture)
        if not faces:
            return None
        return np.array(self._box_of(max(faces, key=lambda face: face.width).points), np.float32)

    def _chip(self, view: Varied, box: NDArray[np.float32], rng: np.random.Generator) -> Image:
        """What dlib cuts out of a view, by landmarks that are looked for near where the face must be."""
        corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float64)
        moved = cv2.perspectiveTransform(corners[None], view.matrix)[0]
        side = math.sqrt(abs(cv2.contourArea(moved.astype(np.float32))))
        x, y = moved.mean(0) + rng.normal(0, 0.015 * side, 2)
        shape = self._faces.shape(view.picture, (x - side / 2, y - side / 2, x + side / 2, y + side / 2))
        return cast(Image, self._dlib.get_face_chip(view.picture, shape, size=150, padding=0.25))


Done = tuple[NDArray[np.float16], NDArray[np.bool_], int]
"""The vectors, whether they were found, and how many portraits were looked at."""


def started(path: Path, files: Sequence[str]) -> Done:
    """What an earlier run that was ended has written for the same portraits, or an empty beginning."""
    if path.is_file():
        with np.load(path) as data:
            if list(data["files"]) == list(files):
                return data["vectors"], data["found"], int(data["done"])
    return np.zeros((len(files), VIEWS, 128), np.float16), np.zeros((len(files), VIEWS), np.bool_), 0


def write(path: Path, files: Sequence[str], vectors: NDArray[np.float16], found: NDArray[np.bool_], done: int) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as sink:
        np.savez(sink, files=np.array(files), vectors=vectors, found=found, done=done)
    part.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--out", type=Path, default=WORK / "embeddings.npz")
    options = parser.parse_args()
    files = sorted(read())
    vectors, found, done = started(options.out, files)
    describer = Describer()
    for place in range(done, len(files)):
        picture = cv2.imread(str(options.portraits / files[place]), cv2.IMREAD_COLOR)
        if picture is None:
            raise SystemExit(f"{files[place]} can't be read")
        rgb = cast(Image, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        described = describer.describe(rgb, np.random.default_rng([3, place]))
        if described is not None:
            vectors[place], found[place] = described.astype(np.float16), True
        if place % 50 == 49 or place == len(files) - 1:
            write(options.out, files, vectors, found, place + 1)
            say(f"{place + 1} of {len(files)}")
    first = vectors[found[:, 0]].astype(np.float32)
    alike = np.einsum("nkd,nd->nk", first, first[:, 0]).mean(0).round(3)
    stranger = float(np.einsum("nd,nd->n", first[:-1, 0], first[1:, 0]).mean())
    say(
        f"{len(files)} portraits, {int((~found[:, 0]).sum())} without a face; cosines to the portrait: {alike}, "
        f"of strangers {stranger:.3f}; in {options.out}"
    )


if __name__ == "__main__":
    main()
