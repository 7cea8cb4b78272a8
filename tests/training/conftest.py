"""Photos of one person made from one photograph, a tiny model, and a training of a few steps with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from easyphoto import families, pictures
from easyphoto.config import Family
from easyphoto.ports import Image, Vision
from easyphoto.training.spec import TrainingSpec
from easyphoto.vision import registry
from tests import tiny
from tests.threads import one_thread


def portraits(astronaut: Image, count: int, side: int = 256) -> list[Image]:
    """Different crops of the photograph: turned, zoomed, lighter and darker."""
    head = cv2.resize(astronaut[0:360, 50:410], (side, side), interpolation=cv2.INTER_AREA)
    made = []
    for i in range(count):
        matrix = cv2.getRotationMatrix2D((side / 2, side * 0.4), (-1) ** i * i, 1.02 + 0.06 * i)
        turned = cv2.warpAffine(head, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)
        made.append(np.clip(turned * (0.9 + 0.05 * i), 0, 255).astype(np.uint8))
    return made


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """A tiny model's steps are too small to share out; with more threads they wait for one another."""
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setenv("OMP_NUM_THREADS", "1")  # for the trainer's own process
        yield


@pytest.fixture(scope="session")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Vision:
    return registry.create(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("tiny") / "model")


SpecMaker = Callable[..., TrainingSpec]


@pytest.fixture
def make_spec(tmp_path: Path, astronaut: Image, checkpoint: Path) -> SpecMaker:
    return lambda **chosen: spec_in(tmp_path, astronaut, checkpoint, **chosen)


def spec_in(folder: Path, astronaut: Image, checkpoint: Path, **chosen: Any) -> TrainingSpec:
    """A training of four steps, validated and saved at two and four, under ``folder``."""
    more = {k: chosen.pop(k) for k in ("photos", "resume", "user_id", "python") if k in chosen}
    if "photos" not in more:
        more["photos"] = tuple(folder / "photos" / f"{i}.png" for i in range(3))
        for path, image in zip(more["photos"], portraits(astronaut, 3), strict=True):
            pictures.save_png(path, image)
    values = {
        "resolution": 64,
        "max_train_steps": 4,
        "val_and_checkpointing_steps": 2,
        "train_batch_size": 2,
        "rank": 4,
        "network_alpha": 2,
        "skin_retouching_bool": False,
        **chosen,
    }
    user = more.pop("user_id", "艾琳 eileen")
    return TrainingSpec(
        user_id=user,
        config=families.spec(Family.BENCH).train_config(**values),
        checkpoint=checkpoint,
        family=Family.BENCH,
        person_folder=folder / "people" / user,
        lora_path=folder / "Lora" / f"{user}.safetensors",
        models=folder / "models",
        device="cpu",
        **more,
    )
