"""A trainer that learns nothing and costs nothing: what a test of the edges is run on, beside the fakes.

``acting_service`` is the real service on a fake host and a fake vision; only the trainer's process is played.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.errors import Cancelled
from easyphoto.events import Fused, Listener, Progress, Validated
from easyphoto.ports import Image
from easyphoto.service import EasyPhoto
from easyphoto.training.spec import TrainingResult, TrainingSpec
from tests.fakes import FakeHost, FakeVision, blank, draw_face

STEPS = 24
EVERY = 8


def portrait_of(who: int, width: int = 320, height: int = 400) -> Image:
    """A picture with one face that the fake vision finds in the middle."""
    return draw_face(blank(width, height), center=(width / 2, height / 2), width=width / 3, who=who)


def templates_in(folder: Path, count: int = 2) -> list[Path]:
    """Pictures of somebody else."""
    found = []
    for i in range(count):
        path = folder / f"template-{i}.png"
        pictures.save_png(path, portrait_of(40 + i, 384, 384))
        found.append(path)
    return found


def photos_in(folder: Path, count: int = 5, who: int = 20) -> list[Path]:
    """Photos of person ``who``, each a little different."""
    found = []
    for i in range(count):
        path = folder / f"photo-{i}.jpg"
        image = draw_face(blank(300 + 8 * i, 340, 90 + 20 * i), (140 + 6 * i, 150 + 9 * i), 100 + 4 * i, who)
        pictures.save_jpg(path, image)
        found.append(path)
    return found


def trained(service: EasyPhoto, name: str, who: int = 20) -> None:
    """Put a person there as a training leaves one."""
    folder = service.people.folder(name)
    crop = portrait_of(who, 256, 256)
    pictures.save_jpg(folder / "ref_image.jpg", crop)
    for i in range(2):
        pictures.save_jpg(folder / "processed_images" / "train" / f"{i}.jpg", crop)
    pictures.save_jpg(folder / "user_weights" / "best_outputs" / "best.jpg", crop)
    marks = {"family": "sd1", "base_model": "fake", "likeness": 0.82, "embedder": "fake-embedder", "works": True}
    pictures.write_bytes(folder / "person.json", json.dumps(marks).encode())
    pictures.write_bytes(service.people.lora(name), lora_file())


def lora_file(**metadata: str) -> bytes:
    """A safetensors file with one module of a LoRA for SD1, all zeros, written by hand: no torch needed."""
    module, sizes = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", {}
    shapes = {"lora_down.weight": [2, 768], "lora_up.weight": [1280, 2], "alpha": []}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        sizes[f"{module}.{name}"] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps({"__metadata__": {"ss_base_model_version": "sd_v1", **metadata}, **sizes}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(end)


class Pace:
    """How far played trainings go before they wait for the test, so that a browser on a busy machine sees them run."""

    def __init__(self, until: int = STEPS) -> None:
        self._until, self._changed = until, threading.Condition()

    def go(self, until: int = STEPS) -> None:
        """Let them go as far as this step; without one to the end."""
        with self._changed:
            self._until = until
            self._changed.notify_all()

    def wait(self, step: int, cancelled: Callable[[], bool]) -> None:
        """Come back when this step may be done, or the training is to end."""
        with self._changed:
            while step > self._until and not cancelled():
                self._changed.wait(0.05)


def play(service: EasyPhoto, pace: Pace | None = None) -> Callable[..., TrainingResult]:
    """A ``training.job.run`` that says what a training says and leaves the files that a training leaves."""
    pace = pace or Pace()

    def run(spec: TrainingSpec, folder: Path, listener: Listener, cancelled: Callable[[], bool]) -> TrainingResult:
        state = folder / "state.pt"
        begun = int(state.read_text()) if spec.resume and state.is_file() else 0
        pictures.write_bytes(folder / "job.json", spec.to_json().encode())
        for i, photo in enumerate(spec.photos):
            pictures.write_bytes(spec.person_folder / "original_backup" / f"{i}.jpg", photo.read_bytes())
        for i in range(len(spec.photos)):
            listener(Progress(stage="photos", step=i + 1, total=len(spec.photos)))
        likeness = 0.0
        for step in range(begun + 1, STEPS + 1):
            pace.wait(step, cancelled)
            if cancelled():
                state.write_text(str(step - 1))
                raise Cancelled("Stopped.")
            loss = 0.14 * math.exp(-step / 12) + 0.02 * math.sin(step * 2.3) + 0.05
            left = (STEPS - step) * 0.4
            listener(Progress(stage="train", step=step, total=STEPS, loss=loss, seconds_left=left))
            if step % EVERY == 0:
                likeness = 0.3 + 0.5 * step / STEPS
                path = folder / f"validation-{step}.jpg"
                pictures.save_jpg(path, portrait_of(20, 128, 128))
                listener(
                    Validated(step=step, likeness=likeness, cosine=0.5, embedder="fake-embedder", pictures=(str(path),))
                )
        trained(service, spec.user_id)
        listener(Fused(method="greedy", steps=(16, 24), likeness=likeness, lora=str(spec.lora_path)))
        return TrainingResult(spec.lora_path, spec.person_folder / "ref_image.jpg", None, True, STEPS, likeness)

    return run


def acting_service(paths: Paths, monkeypatch: pytest.MonkeyPatch, pace: Pace | None = None) -> EasyPhoto:
    """The service, whose trainings keep to a pace."""
    service = EasyPhoto(FakeHost(), FakeVision(), paths)
    monkeypatch.setattr("easyphoto.training.job.run", play(service, pace))
    return service
