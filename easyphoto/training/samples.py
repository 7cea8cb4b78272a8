"""The pictures that a training sees, as they lie on the disk after the crop phase and before the encode phase."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from easyphoto import pictures
from easyphoto.ports import Image, Mask
from easyphoto.storage.triggers import TRIGGER
from easyphoto.vision.geometry import Box

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Sample:
    """One square picture. ``known`` is the part of it that the photo covers: (left, top, right, bottom) as shares of
    the sides. Nothing is known of the person outside that part, and nothing is learned from it. ``face`` is where the
    face is, of the picture's size, if a training needs it."""

    image: Image
    known: Box = WHOLE
    face: Mask | None = None


def save(folder: Path, samples: Sequence[Sample], caption: str | Sequence[str] = TRIGGER) -> list[Path]:
    """Write the pictures, and ``metadata.jsonl`` with their names and captions, in the format that ``datasets`` reads.
    ``caption`` is one text for all pictures, or one for each."""
    captions = [caption] * len(samples) if isinstance(caption, str) else list(caption)
    paths = [folder / "train" / f"{i}.jpg" for i in range(len(samples))]
    lines = []
    for path, sample, said in zip(paths, samples, captions, strict=True):
        pictures.save_jpg(path, sample.image, quality=97)
        row: dict[str, object] = {"file_name": f"train/{path.name}", "text": said}
        if sample.known != WHOLE:
            row["known"] = list(sample.known)
        if sample.face is not None:
            row["face"] = f"faces/{path.stem}.png"
            drawn = np.rint(sample.face * 255).astype(np.uint8)
            pictures.save_png(folder / "faces" / f"{path.stem}.png", np.dstack([drawn] * 3))
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    pictures.write_bytes(folder / "metadata.jsonl", "".join(lines).encode())
    return paths


def load(folder: Path) -> tuple[list[Sample], list[str]]:
    """Return the pictures and the captions that :func:`save` wrote."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    samples = []
    for row in rows:
        left, top, right, bottom = row.get("known", WHOLE)
        face = _mask(folder / row["face"]) if "face" in row else None
        samples.append(Sample(pictures.load(folder / row["file_name"]), (left, top, right, bottom), face))
    return samples, [str(row["text"]) for row in rows]


def _mask(path: Path) -> Mask:
    return np.asarray(pictures.load(path)[..., 0] / np.float32(255), np.float32)
