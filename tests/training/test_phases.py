"""A training with a phase that the package doesn't have: it runs, is cancelled, is killed, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from easyphoto import events
from easyphoto.errors import Cancelled
from easyphoto.events import Event, Finished, Fused, Progress, Started
from easyphoto.ports import Image
from easyphoto.sd import lora as lora_files
from easyphoto.storage import earlier, files
from easyphoto.storage.folders import JobFolder
from easyphoto.training import job, pipeline, worker
from easyphoto.training.phase import Training
from easyphoto.training.phases import PHASES, inserted
from easyphoto.training.phases.fuse import FusePhase
from easyphoto.training.spec import TrainingSpec
from tests.training.conftest import spec_in
from tests.training.rewarded import LORA, NOTE, STEPS, Reward
from tests.training.test_job import Watch

MODULE = "tests.training.rewarded"


class Run:
    """One training with the phase: its request, its events, and what came of it."""

    def __init__(self, spec: TrainingSpec, until: int | None = None) -> None:
        self.spec = spec
        self.folder = spec.person_folder / "job"
        self.watch = Watch(lambda event: until is not None and rewarded([event]) >= [until])
        job.run(spec, self.folder, self.watch, self.watch.cancelled, MODULE)

    @property
    def marks(self) -> dict[str, Any]:
        return marks_of(self.spec)


def marks_of(spec: TrainingSpec) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((spec.person_folder / "person.json").read_text(encoding="utf-8")))


def rewarded(seen: list[Event]) -> list[int]:
    """The steps of the phase that were done."""
    return [e.step for e in seen if isinstance(e, Progress) and e.stage == "reward" and not e.message]


def stages(seen: list[Event]) -> list[str]:
    return list(dict.fromkeys(e.stage for e in seen if isinstance(e, Progress)))


def own_lora(spec: TrainingSpec) -> dict[str, torch.Tensor]:
    layers = lora_files.read(spec.person_folder / "user_weights" / LORA).layers
    return {name: layer.delta() for name, layer in layers.items()}


def in_folder(folder: Path, astronaut: Image, checkpoint: Path) -> TrainingSpec:
    return spec_in(folder, astronaut, checkpoint, max_train_steps=2, val_and_checkpointing_steps=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, astronaut: Image, checkpoint: Path) -> Run:
    return Run(in_folder(tmp_path_factory.mktemp("whole"), astronaut, checkpoint))


@pytest.mark.thorough
def test_the_phase_runs_in_its_place_and_the_person_keeps_what_it_made(whole: Run) -> None:
    seen = whole.watch.events
    assert stages(seen) == ["photos", "crops", "latents", "validate", "train", "reward"]
    assert rewarded(seen) == list(range(1, STEPS + 1))
    kinds = [type(e) for e in seen if isinstance(e, Started | Fused | Finished)]
    assert kinds == [Started, Fused, Finished]
    assert whole.marks["reward"]["steps"] == STEPS and whole.marks["steps"] == 2
    person = whole.spec.person_folder
    mine, trained = (lora_files.read(person / "user_weights" / n).layers for n in (LORA, "checkpoint-2.safetensors"))
    assert any(not torch.equal(mine[n].up, trained[n].up) for n in trained), "it took steps of its own"
    published = lora_files.read(whole.spec.lora_path).layers
    assert all(torch.equal(published[n].up, trained[n].up) for n in trained), "and changed nothing of the training"
    assert not JobFolder(whole.folder).phases.exists()


@pytest.mark.thorough
def test_a_cancel_within_the_phase_leaves_a_usable_person_and_can_be_resumed(
    whole: Run, tmp_path: Path, astronaut: Image, checkpoint: Path
) -> None:
    spec = in_folder(tmp_path, astronaut, checkpoint)
    with pytest.raises(Cancelled):
        Run(spec, until=2)
    log = list(events.read_log(spec.person_folder / "job" / "events.jsonl"))
    done = max(rewarded(log))
    assert 2 <= done < STEPS and not any(isinstance(e, Fused) for e in log)
    marks = marks_of(spec)
    assert marks["cancelled"] is True and marks["steps"] == 2 and "reward" not in marks
    assert lora_files.read(spec.lora_path).layers
    assert files.read_json(JobFolder(spec.person_folder / "job").phase("reward") / NOTE) == {"done": done}

    again = Run(replace(spec, resume=True))
    assert again.watch.losses.keys() == set(range(done + 1, STEPS + 1)), "no step of the training or the phase again"
    assert again.marks["reward"] == whole.marks["reward"] and "cancelled" not in again.marks
    mine, unbroken = own_lora(spec), own_lora(whole.spec)
    assert all(torch.equal(mine[n], unbroken[n]) for n in unbroken)


@pytest.mark.thorough
def test_after_kill_9_within_the_phase_it_goes_on_where_it_was(
    whole: Run, tmp_path: Path, astronaut: Image, checkpoint: Path
) -> None:
    spec = in_folder(tmp_path, astronaut, checkpoint)
    folder = spec.person_folder / "job"
    folder.mkdir(parents=True)
    (folder / worker.JOB).write_text(spec.to_json(), encoding="utf-8")
    child = subprocess.Popen([sys.executable, "-m", MODULE, str(folder)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    while max(rewarded(list(events.read_log(folder / worker.EVENTS))), default=0) < 2:
        assert child.poll() is None, "the trainer ended before it could be killed"
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not spec.lora_path.exists()
    done = files.read_json(JobFolder(folder).phase("reward") / NOTE)["done"]

    again = Run(replace(spec, resume=True))
    assert again.watch.losses.keys() == set(range(done + 1, STEPS + 1))
    mine, unbroken = own_lora(spec), own_lora(whole.spec)
    assert all(torch.equal(mine[n], unbroken[n]) for n in unbroken)


# --- the list --------------------------------------------------------------------------------------------------------


def test_a_list_in_which_something_is_missing_is_refused_before_anything_is_done() -> None:
    pipeline.check(PHASES)
    assert [p.name for p in inserted(Reward(), before="fuse")] == [
        "look", "crop", "encode", "train", "reward", "fuse", "publish",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="reward needs Trained"):
        pipeline.check(inserted(Reward(), before="train"))
    with pytest.raises(ValueError, match="two phases are called fuse"):
        pipeline.check(inserted(FusePhase(), before="publish"))
    with pytest.raises(ValueError, match="result"):
        pipeline.check(PHASES[:-1])
    with pytest.raises(ValueError, match="nowhere"):
        inserted(Reward(), before="nowhere")


def test_what_a_phase_goes_on_from_shares_the_fate_of_the_state(tmp_path: Path) -> None:
    """A new training moves it aside, puts it back where it comes to nothing, and removes it where it starts anew."""
    training = Training(
        cast("Any", None), tmp_path, cast("Any", None), lambda event: None, lambda: False, ("state.pt",)
    )
    kept = training.own(Reward()) / NOTE
    for path in (kept, training.job.state):
        path.write_text("1")
    earlier.set_aside(training.job)
    assert not kept.exists()
    earlier.settle(training.job)
    assert kept.exists() and training.job.state.exists()
    training.forget_earlier()
    assert not kept.exists() and not training.job.state.exists()
