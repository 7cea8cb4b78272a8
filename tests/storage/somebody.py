"""People as trainings leave them. Each piece is marked, so that a mixture of two trainings shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.config import Family, Paths, TrainConfig
from easyphoto.people import PeopleStore, Person
from easyphoto.ports import Image
from easyphoto.storage.folders import PROCESSED, REFERENCE, STATE, WEIGHTS, JobFolder, PersonFolder
from easyphoto.training.spec import TrainingSpec
from tests.acting import lora_file

OLD, NEW = 60, 180
"""Grey values: every picture of one training has its own."""


def grey(value: int) -> Image:
    return np.full((32, 32, 3), value, np.uint8)


def picture(value: int) -> Pillow.Image:
    return Pillow.fromarray(grey(value))


def lora(value: int) -> bytes:
    """A real LoRA whose last byte says of which training it is."""
    return lora_file()[:-1] + bytes([value])


def trained(paths: Paths, name: str = "ann", value: int = OLD) -> Person:
    """Put a person there, with photos, crops, a best picture and a LoRA."""
    home = PersonFolder(paths.people / name)
    for path in (home.reference, home.crops / "0.jpg", home.backup / "0.jpg", home.best / f"{name}.jpg"):
        pictures.save_jpg(path, grey(value))
    marks = {"family": "sd1", "base_model": "base", "likeness": value / 255, "embedder": str(value), "works": True}
    pictures.write_bytes(home.marks, json.dumps(marks).encode())
    pictures.write_bytes(paths.loras / f"{name}.safetensors", lora(value))
    return PeopleStore(paths).get(name)


def value_of(path: Path) -> int:
    """Which training a picture is of."""
    mean = float(pictures.load(path).mean())
    return min((OLD, NEW), key=lambda value: abs(value - mean))


def values(paths: Paths, name: str = "ann") -> set[int]:
    """Of which trainings the pieces of a person are."""
    person = PeopleStore(paths).get(name)
    assert person.fault == ""
    home = PersonFolder(person.folder)
    found = {value_of(p) for p in (home.reference, home.crops / "0.jpg", home.backup / "0.jpg")}
    assert person.face_id is not None
    return {*found, value_of(person.face_id), int(person.embedder), person.lora.read_bytes()[-1]}


def spec(paths: Paths, name: str = "ann", **more: object) -> TrainingSpec:
    values: dict[str, object] = {
        "user_id": name,
        "photos": (),
        "config": TrainConfig(),
        "checkpoint": Path("base.safetensors"),
        "family": Family.SD1,
        "person_folder": paths.people / name,
        "lora_path": paths.loras / f"{name}.safetensors",
        "models": paths.models,
        **more,
    }
    return TrainingSpec(**values)  # type: ignore[arg-type]


def finished_job(paths: Paths, name: str = "ann", value: int = NEW) -> tuple[JobFolder, Path, Path]:
    """The job folder of a training that is about to publish, its LoRA and its best picture."""
    job = PersonFolder(paths.people / name).job
    pictures.save_jpg(job.photos / "0.jpg", grey(value))
    pictures.save_jpg(job.path / REFERENCE, grey(value))
    pictures.save_jpg(job.path / PROCESSED / "train" / "0.jpg", grey(value))
    pictures.save_jpg(job.path / "validation" / "step-2.jpg", grey(value))
    pictures.write_bytes(job.path / WEIGHTS / "checkpoint-2.safetensors", lora(value))
    pictures.write_bytes(job.path / "fused.safetensors", lora(value))
    return job, job.path / "fused.safetensors", job.path / "validation" / "step-2.jpg"


def interrupted_job(paths: Paths, name: str = "ann", value: int = OLD) -> JobFolder:
    """The job folder of a training that was cut off and can be resumed."""
    job, fused, _ = finished_job(paths, name, value)
    fused.unlink()
    pictures.write_bytes(job.path / STATE, f"state {value}".encode())
    pictures.write_bytes(job.path / "scores.json", b"[]")
    pictures.write_bytes(job.request, spec(paths, name).to_json().encode())
    return job


def snapshot(*folders: Path) -> dict[str, bytes]:
    """Every file and link under the folders with its content, but for locks."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".lock":
                continue
            if path.is_symlink():
                found[str(path)] = b"link"
            elif path.is_file():
                found[str(path)] = path.read_bytes()
    return found
