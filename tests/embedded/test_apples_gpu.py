"""Tests of what is chosen on a Mac. No Mac was at hand: torch is only told that Apple's GPU is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.cli import devices
from easyphoto.config import Family, TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.embedded import device as embedded
from easyphoto.training import hardware, loop
from easyphoto.training.spec import TrainingSpec

torch = pytest.importorskip("torch")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def spec(**config: object) -> TrainingSpec:
    nowhere = Path("nowhere")
    return TrainingSpec(
        user_id="ann",
        photos=(),
        config=TrainConfig(**config),  # type: ignore[arg-type]
        checkpoint=nowhere,
        family=Family.SD1,
        person_folder=nowhere,
        lora_path=nowhere,
        models=nowhere,
    )


def test_portraits_run_on_it_in_half_precision(mac: None) -> None:
    where, dtype = embedded.choose(None, None)
    assert (where.type, dtype) == ("mps", torch.float16)
    assert embedded.free_memory(where) is None, "its memory is the machine's: moving a model away frees nothing"
    assert embedded.choose("cpu", torch.float32)[0].type == "cpu", "what is asked for goes before it"


def test_trainings_run_on_it_in_full_precision(mac: None) -> None:
    asked = spec()
    where = hardware.device(asked)
    assert where.type == "mps"
    assert loop.precision(asked.config, where) == "no"
    assert loop.weight_type("no") == torch.float32
    plan = hardware.fit(asked, where)
    assert plan.fits
    assert plan.config.train_batch_size == asked.config.train_batch_size, "nobody knows how much room there is"


def test_it_can_be_named_where_it_is(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    devices.require(devices.listed("mps"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InvalidRequest, match="mps, which this machine doesn't have"):
        devices.require(["mps"])
