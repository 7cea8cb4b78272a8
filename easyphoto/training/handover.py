"""Moves what a training made from the job folder to the place where the person lives.

Before this, the training has touched nothing of an earlier training of the same person. All pieces, and the photos are
among them, take their places as one (see :mod:`easyphoto.storage.swap`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from easyphoto.errors import StorageFailed
from easyphoto.storage import earlier, files
from easyphoto.storage.folders import (
    BACKUP,
    BEST,
    LATENTS,
    MARKS,
    PHASES,
    PHOTOS,
    PROCESSED,
    REFERENCE,
    STATE,
    TEMPLATES,
    VALIDATION,
    WEIGHTS,
    JobFolder,
    PersonFolder,
)
from easyphoto.storage.swap import Swap
from easyphoto.training import state
from easyphoto.training.spec import TrainingSpec

__all__ = ["BEST", "MARKS", "VALIDATION", "clear", "essentials", "everything", "half_trained"]


def everything(
    spec: TrainingSpec,
    folder: Path,
    lora: Path,
    best_picture: Path | None,
    marks: dict[str, Any],
    attachments: Mapping[str, Path] | None = None,
) -> Path | None:
    """Put the finished person in place and return the path of the best picture, or None when there is none.

    ``attachments`` are further files for the person's folder of weights, by the names that they get there. Raises
    :class:`StorageFailed`. The person is then as before, or the next one who looks finishes the work.
    """
    with _swap(spec) as swap:
        weights = swap.place(WEIGHTS)
        for path in state.checkpoints(folder).values():
            files.link(path, weights / path.name)
        for path in sorted((folder / VALIDATION).glob("*.jpg")):
            files.link(path, weights / VALIDATION / path.name)
        for name, path in (attachments or {}).items():
            files.link(path, weights / name)
        files.link(lora, weights / BEST / f"{spec.user_id}.safetensors")
        if best_picture is not None:
            files.link(best_picture, weights / BEST / f"{spec.user_id}.jpg")
        shutil.copytree(folder / PROCESSED, swap.place(PROCESSED))
        _fill(swap, spec, folder, lora, marks)
    best = PersonFolder(spec.person_folder).best
    return None if best_picture is None else best / f"{spec.user_id}.jpg"


def essentials(spec: TrainingSpec, folder: Path, lora: Path, marks: dict[str, Any]) -> None:
    """Put the photos, the reference picture, the marks and the LoRA in place: these alone make a person that is
    listed."""
    with _swap(spec) as swap:
        _fill(swap, spec, folder, lora, marks)


def half_trained(spec: TrainingSpec) -> bool:
    """Whether the training that made what lies in place was itself stopped half-way."""
    try:
        return bool(files.read_json(PersonFolder(spec.person_folder).marks)["cancelled"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def clear(folder: Path) -> None:
    """Remove what only a resume would need, of this training and of an earlier one."""
    earlier.forget(JobFolder(folder))
    for name in (STATE, LATENTS, WEIGHTS, PROCESSED, PHOTOS, TEMPLATES, PHASES):
        files.remove(folder / name)


def _fill(swap: Swap, spec: TrainingSpec, folder: Path, lora: Path, marks: dict[str, Any]) -> None:
    photos = sorted(JobFolder(folder).photos.glob("*.jpg"))
    for path in photos:
        files.link(path, swap.place(BACKUP) / path.name)
    shutil.copyfile(folder / REFERENCE, swap.place(REFERENCE))
    whole = {**marks, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    files.write_json(swap.place(MARKS), whole)
    swap.put_lora(lora)


@contextmanager
def _swap(spec: TrainingSpec) -> Iterator[Swap]:
    """Yield new pieces of the person. They are put in place if the block ends well, and given up otherwise."""
    swap: Swap | None = None
    try:
        swap = Swap(PersonFolder(spec.person_folder), spec.lora_path)
        yield swap
        swap.commit()
    except OSError as error:
        raise StorageFailed(
            "{person_folder} could not be written: {reason}.",
            person_folder=spec.person_folder.name,
            reason=error.strerror or error,
        ) from error
    finally:
        if swap is not None:
            swap.discard()
