"""Tests with a fifth family that is made up in this file alone: the program recognises it, trains it and draws with it,
and no other file knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from easyphoto import checkpoint, families, memory, pictures
from easyphoto.config import Family, Paths
from easyphoto.events import Event, Portrayed
from easyphoto.families.spec import ControlRow, Effort, Header, Learning, Pass, WorkingSize, table
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.inference.portrait import portray
from easyphoto.ports import ControlRole, Image
from easyphoto.training import pipeline
from easyphoto.training.spec import TrainingSpec
from tests import tiny
from tests.fakes import FakeVision
from tests.inference.studio import person, task, template
from tests.threads import one_thread

WIDTH = 96
BENCH = families.spec(Family("bench"))
MADE_UP = replace(
    BENCH,
    family=Family("made-up"),
    title="the made-up model",
    shipped=False,
    header=Header(context=WIDTH, encoders=(WIDTH,), written="made_up_v1", declared=("made_up",)),
    learning=Learning(
        Effort(1, 2, 2.0),
        ("to_q", "to_v"),
        person={
            "resolution": 64,
            "max_train_steps": 2,
            "val_and_checkpointing_steps": 2,
            "train_batch_size": 1,
            "rank": 2,
            "network_alpha": 2,
        },
        needs_disk=False,
    ),
    size=WorkingSize(128, None, 128, 128, 4),
    controls=table({Pass.FIRST: (ControlRow(ControlRole.CANNY, 0.5),)}),
    control_models=table({}),
)


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with families.registered(MADE_UP), one_thread():
        yield


@pytest.fixture
def base(paths: Paths) -> Path:
    return tiny.folder(paths.models / "Stable-diffusion" / "made up", width=WIDTH)


def test_it_is_told_by_its_width_and_nobody_else_has_it(base: Path) -> None:
    info = checkpoint.inspect(base)
    assert info.family is MADE_UP.family and info.kind == "checkpoint"
    assert families.named("made-up") is info.family and families.of_width(WIDTH) is info.family
    assert MADE_UP.train_config().rank == 2
    assert memory.plan(MADE_UP.train_config(), info.family, "no", None).fits
    for twin in (MADE_UP, replace(MADE_UP, family=Family("other"))):
        with pytest.raises(ValueError, match="too much like"), families.registered(twin):
            pass


def test_once_it_is_gone_it_is_unknown(base: Path) -> None:
    known = families.Registry([BENCH])
    assert known.get("made-up") is None
    with pytest.raises(ValueError, match="no family"):
        families.named("never heard of")


@pytest.mark.thorough
def test_a_person_is_trained_on_it_and_drawn_with_it(paths: Paths, base: Path, astronaut: Image) -> None:
    photos = tuple(paths.outputs / f"{i}.png" for i in range(3))
    for number, path in enumerate(photos):
        pictures.save_png(path, astronaut[:, number * 4 :])
    spec = TrainingSpec(
        "ada", photos, MADE_UP.train_config(skin_retouching_bool=False), base, MADE_UP.family,
        paths.outputs / "ada", paths.loras / "ada.safetensors", paths.models, device="cpu",
    )  # fmt: skip
    job = paths.outputs / "ada" / "job"
    job.mkdir(parents=True)
    result = pipeline.run(TrainingSpec.from_json(spec.to_json()), job, lambda event: None, lambda: False)
    made = checkpoint.inspect(result.lora)
    assert made.family is MADE_UP.family and made.metadata["ss_base_model_version"] == "made_up_v1"

    host = EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32)
    (listed,) = [c for c in host.checkpoints() if c.family == MADE_UP.family]
    asked = task((template(10),), replace(person(paths.loras, "eve"), lora=result.lora), family=MADE_UP.family,
                 folder=paths.portraits)  # fmt: skip
    asked = replace(asked, checkpoint=listed)
    events: list[Event] = []
    (portrait,) = list(portray(asked, host, FakeVision(), events.append))
    assert (portrait.image != template(10)).any()
    assert [e.template for e in events if isinstance(e, Portrayed)] == [0]
    assert portrait.recipe["checkpoint"]["family"] == "made-up"
