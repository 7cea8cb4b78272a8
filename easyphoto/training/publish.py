"""The last part of a training: what it made goes from the job folder to where the person lives.

Until here nothing of an earlier training of the same person was touched; each piece is replaced as a whole.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.errors import StorageFailed
from easyphoto.training import state
from easyphoto.training.prepare import PROCESSED, REFERENCE
from easyphoto.training.spec import TrainingSpec

MARKS = "person.json"
VALIDATION = "validation"
BEST = "best_outputs"


def everything(
    spec: TrainingSpec, folder: Path, lora: Path, best_picture: Path | None, marks: dict[str, Any]
) -> Path | None:
    """Put the finished person in place and return the path of the best picture, None when there is none.

    Raises :class:`StorageFailed`, and then leaves each piece as it was or whole.
    """
    weights = spec.person_folder / state.WEIGHTS
    with _told(spec.person_folder):
        fresh = weights.with_name(weights.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        for path in state.checkpoints(folder).values():
            _link(path, fresh / path.name)
        for path in sorted((folder / VALIDATION).glob("*.jpg")):
            _link(path, fresh / VALIDATION / path.name)
        _link(lora, fresh / BEST / f"{spec.user_id}.safetensors")
        if best_picture is not None:
            _link(best_picture, fresh / BEST / f"{spec.user_id}.jpg")
        _swap(fresh, weights)
        processed = spec.person_folder / (PROCESSED + ".new")
        shutil.rmtree(processed, ignore_errors=True)
        shutil.copytree(folder / PROCESSED, processed)
        _swap(processed, spec.person_folder / PROCESSED)
    essentials(spec, folder, lora, marks)
    return None if best_picture is None else weights / BEST / f"{spec.user_id}.jpg"


def essentials(spec: TrainingSpec, folder: Path, lora: Path, marks: dict[str, Any]) -> None:
    """The reference picture, the marks and the LoRA alone: all that a person needs to be listed."""
    pictures.write_bytes(spec.person_folder / REFERENCE, (folder / REFERENCE).read_bytes())
    whole = {**marks, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    pictures.write_bytes(spec.person_folder / MARKS, json.dumps(whole, ensure_ascii=False, indent=1).encode())
    with _told(spec.lora_path):
        beside = spec.lora_path.with_name(spec.lora_path.name + ".part")
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lora, beside)
        beside.replace(spec.lora_path)


def clear(folder: Path) -> None:
    """Remove what only a resumed training needs."""
    for name in (state.STATE, "latents.safetensors"):
        (folder / name).unlink(missing_ok=True)
    for name in (state.WEIGHTS, PROCESSED):
        shutil.rmtree(folder / name, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """A second name for the file where the file system has these, else a copy: checkpoints are large."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _swap(fresh: Path, place: Path) -> None:
    old = place.with_name(place.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{place.name} could not be written: {error.strerror or error}.") from error
