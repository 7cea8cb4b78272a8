"""The reward: it runs, is refused, is kept apart, is cancelled, is killed, and goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from easyphoto import events, pictures
from easyphoto.api import wire
from easyphoto.cli import show
from easyphoto.cli.main import main
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import Cancelled
from easyphoto.events import Event, Notice, Progress
from easyphoto.inference import plan
from easyphoto.people import PeopleStore
from easyphoto.ports import Image
from easyphoto.sd import lora as lora_files
from easyphoto.storage import files
from easyphoto.storage.folders import JobFolder
from easyphoto.training import job, pipeline, validation, worker
from easyphoto.training.phases import reward as reward_phase
from easyphoto.training.phases.reward import RewardState
from easyphoto.training.reward_gate import GateVerdict
from easyphoto.training.spec import TrainingSpec
from easyphoto.vision.registry import LocalVision
from tests.training.conftest import spec_in
from tests.training.really_rewarded import reporter
from tests.training.test_job import Watch
from tests.training.test_phases import marks_of

MODULE = "tests.training.really_rewarded"
STEPS = 6
USER = "艾琳 eileen"


def rewarded(folder: Path, astronaut: Image, checkpoint: Path, **chosen: Any) -> TrainingSpec:
    """A training of two steps, with a reward of six and as many templates as it needs."""
    (hopper,) = validation.packaged()
    paths = [folder / "templates" / f"{i}.jpg" for i in range(6)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(hopper, path)
    options = {"max_train_steps": 2, "enable_rl": True, "max_rl_steps": STEPS, **chosen}
    spec = spec_in(folder, astronaut, checkpoint, **options)
    home = folder / "outputs" / "easyphoto-user-id-infos" / USER
    lora = folder / "models" / "Lora" / f"{USER}.safetensors"
    return replace(spec, validation_templates=tuple(paths), lora_path=lora, person_folder=home)


def trained(spec: TrainingSpec, until: int | None = None) -> list[Event]:
    watch = Watch(lambda event: until is not None and steps_in([event]) >= [until])
    job.run(spec, spec.person_folder / "job", watch, watch.cancelled, MODULE)
    return watch.events


def steps_in(seen: list[Event]) -> list[int]:
    """The steps of the reward."""
    return [e.step for e in seen if isinstance(e, Progress) and e.stage == "reward" and e.loss is not None]


def deltas(path: Path) -> dict[str, torch.Tensor]:
    return {name: layer.delta() for name, layer in lora_files.read(path).layers.items()}


@pytest.fixture(scope="module")
def refused(
    tmp_path_factory: pytest.TempPathFactory, astronaut: Image, checkpoint: Path
) -> tuple[TrainingSpec, list[Event]]:
    spec = rewarded(tmp_path_factory.mktemp("refused"), astronaut, checkpoint)
    return spec, trained(spec)


@pytest.mark.thorough
def test_a_reward_that_brings_nothing_leaves_the_lora_as_it_was(
    refused: tuple[TrainingSpec, list[Event]], tmp_path: Path, astronaut: Image, checkpoint: Path
) -> None:
    spec, seen = refused
    said = marks_of(spec)["reward"]
    assert said["accepted"] is False and said["interval"][0] <= 0 and "did not rise" in said["why"]
    assert (said["judge"], said["reporter"], said["steps"]) == ("dlib-resnet", "coarse", STEPS)
    shown = wire.reward_out(said, wire.Scrubber(Paths.standalone()))
    assert shown is not None and shown.why == said["why"] and shown.curve[-1][0] == STEPS
    assert shown.guards["found"] == tuple(said["guards"]["found"]) and len(shown.guards) == 4
    lines = show.reward_lines(said)
    assert lines[0] == f"  reward left out: {said['why']}"
    assert lines[1].startswith("  reporter coarse: gain ") and f"at step {STEPS}" in lines[2]
    assert said["minutes"] > 0 and [step for step, _ in said["curve"]] == [0, STEPS]
    assert steps_in(seen) == list(range(1, STEPS + 1))
    assert any(isinstance(e, Progress) and e.stage == "reward" and e.seconds_left is not None for e in seen)
    assert any(isinstance(e, Notice) and "the LoRA stays as it was" in e.message for e in seen)
    assert not list((spec.person_folder / "user_weights").glob("*-reward*"))
    plain = rewarded(tmp_path, astronaut, checkpoint, enable_rl=False)
    trained(plain)
    mine, theirs = deltas(spec.lora_path), deltas(plain.lora_path)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("chosen", "why"),
    [({}, "without a reporter"), ({"validation": False}, "needs the validation"),
     ({"train_mode_choose": "Train Scene Lora"}, "no likeness")],
)  # fmt: skip
def test_what_makes_a_reward_impossible_is_said_before_time_is_spent(
    tmp_path: Path, astronaut: Image, checkpoint: Path, chosen: dict[str, Any], why: str
) -> None:
    spec = rewarded(tmp_path, astronaut, checkpoint, **chosen)
    seen = in_process(spec)
    assert steps_in(seen) == []
    said = marks_of(spec)["reward"]
    assert said["accepted"] is False and why in said["why"] and spec.lora_path.is_file()
    assert show.reward_lines(said) == [f"  reward left out: {said['why']}"]
    assert wire.reward_out(said, wire.Scrubber(Paths.standalone())) is not None
    assert any(isinstance(e, Notice) and why in e.message for e in seen)


@pytest.mark.thorough
def test_too_few_templates_are_counted_in_the_sentence(
    tmp_path: Path, astronaut: Image, checkpoint: Path, reporting: None
) -> None:
    spec = rewarded(tmp_path, astronaut, checkpoint)
    in_process(replace(spec, validation_templates=spec.validation_templates[:4]))
    assert marks_of(spec)["reward"]["why"] == "it needs 5 templates with a face, and 4 are there"


@pytest.mark.thorough
def test_a_reward_that_breaks_off_costs_nobody_the_training(
    tmp_path: Path, astronaut: Image, checkpoint: Path, reporting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(reward_phase.Rewarder, "step", broken)
    spec = rewarded(tmp_path, astronaut, checkpoint)
    in_process(spec)
    assert "no memory" in marks_of(spec)["reward"]["why"] and spec.lora_path.is_file()


@pytest.mark.thorough
def test_what_is_accepted_is_kept_apart_worn_merged_and_deleted_with_the_person(
    tmp_path: Path, astronaut: Image, checkpoint: Path, reporting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_phase, "decide", lambda *_: GateVerdict(0.1, (0.05, 0.15), ""))
    spec = rewarded(tmp_path, astronaut, checkpoint)
    # The judge may like the beginning best, which is no LoRA at all: here the last step counts.
    monkeypatch.setattr(reward_phase.RewardState, "best", property(lambda s: None, lambda s, v: None), raising=False)
    in_process(spec)
    said = marks_of(spec)["reward"]
    assert said["accepted"] is True and said["gain"] == 0.1 and said["interval"] == [0.05, 0.15]

    store = PeopleStore(Paths.standalone(tmp_path))
    person = store.get(USER)
    assert person.reward is not None and person.reward.parent == spec.person_folder / "user_weights"
    small = lora_files.read(person.reward).layers
    assert all(layer.rank == 8 and name.startswith("lora_unet") for name, layer in small.items())
    assert any(bool(layer.up.any()) for layer in small.values()), "it learned something"

    def worn(config: PortraitConfig) -> list[tuple[str, float]]:
        return [(ref.name, round(ref.weight, 3)) for ref in plan.own_loras(person.lora, person.reward, config)]

    assert worn(PortraitConfig()) == [(USER, 0.9), (f"{USER}-reward", 0.9)]
    assert worn(PortraitConfig(reward_weight=0.5)) == [(USER, 0.9), (f"{USER}-reward", 0.45)]
    assert worn(PortraitConfig(reward_weight=0.0)) == [(USER, 0.9)]

    merged = tmp_path / "merged.safetensors"
    data = ["--data", str(tmp_path)]
    assert main(["people", "export", USER, str(merged), "--reward-weight", "0.5", *data]) == 0
    own, added, both = deltas(person.lora), deltas(person.reward), deltas(merged)
    assert own.keys() == both.keys()
    for name, delta in both.items():
        wanted = own[name] + 0.5 * added[name].reshape(own[name].shape) if name in added else own[name]
        assert torch.allclose(delta.reshape(wanted.shape), wanted, atol=1e-4)
    assert main(["people", "export", USER, str(merged), "--reward-weight", "2", *data]) != 0

    shared = tmp_path / "shared.easyphoto.zip"
    store.export(USER, shared)
    content = person.reward.read_bytes()
    store.delete(USER)
    assert not list(tmp_path.rglob("*-reward*"))
    brought = store.bring(shared)
    assert brought.reward is not None and brought.reward.read_bytes() == content


@pytest.mark.thorough
def test_a_cancel_within_the_reward_leaves_a_usable_person_and_the_reward_goes_on(
    refused: tuple[TrainingSpec, list[Event]], tmp_path: Path, astronaut: Image, checkpoint: Path
) -> None:
    spec = rewarded(tmp_path, astronaut, checkpoint, max_rl_steps=200)
    with pytest.raises(Cancelled):
        trained(spec, until=5)
    log = list(events.read_log(spec.person_folder / "job" / "events.jsonl"))
    done = max(steps_in(log))
    assert 5 <= done < 60, "it ended soon"
    marks = marks_of(spec)
    assert marks["cancelled"] is True and "reward" not in marks and lora_files.read(spec.lora_path).layers
    again = trained(replace(spec, resume=True, config=replace(spec.config, max_rl_steps=STEPS)))
    assert marks_of(spec)["reward"]["steps"] >= STEPS
    assert not [e for e in again if isinstance(e, Progress) and e.stage == "train"]


@pytest.mark.thorough
def test_a_killed_reward_goes_on_after_its_last_saved_step_and_ends_as_if_nothing_had_been(
    refused: tuple[TrainingSpec, list[Event]], tmp_path: Path, astronaut: Image, checkpoint: Path
) -> None:
    spec = rewarded(tmp_path, astronaut, checkpoint)
    folder = spec.person_folder / "job"
    files.write_bytes(folder / worker.JOB, spec.to_json().encode())
    child = subprocess.Popen([sys.executable, "-m", MODULE, str(folder)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    state = JobFolder(folder).phase("reward") / "state.pt"
    while not state.is_file():
        assert child.poll() is None, "the trainer ended before it could be killed"
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not spec.lora_path.exists()
    kept = RewardState(**torch.load(state, weights_only=True))
    again = trained(replace(spec, resume=True))
    assert steps_in(again) == list(range(kept.step + 1, STEPS + 1)) and kept.step >= 5
    was, now = marks_of(refused[0])["reward"], marks_of(spec)["reward"]
    assert now["curve"] == was["curve"] and now["gain"] == was["gain"]


# --- helpers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def reporting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalVision, "reporter", property(reporter))


def in_process(spec: TrainingSpec) -> list[Event]:
    """Train in this process, where a test can put something else in a function's place."""
    folder = spec.person_folder / "job"
    for place, path in enumerate(spec.photos):
        pictures.save_jpg(folder / "photos" / f"{place}.jpg", pictures.load(path))
    seen: list[Event] = []
    pipeline.run(spec, folder, seen.append, lambda: False, pipeline.asked_for(spec.config))
    return seen
