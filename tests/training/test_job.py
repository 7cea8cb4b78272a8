"""Tests of real trainings of a few steps in a real child process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from easyphoto import checkpoint as headers
from easyphoto import events
from easyphoto.config import TRAIN_MODES, Family
from easyphoto.errors import Cancelled, InvalidRequest, NoFace, StorageFailed, TrainingFailed
from easyphoto.events import Event, Failed, Finished, Fused, Notice, PhotosChecked, Progress, Started, Validated
from easyphoto.ports import Image
from easyphoto.sd import lora as lora_files
from easyphoto.training import job, state, worker
from easyphoto.training.spec import TrainingResult, TrainingSpec
from tests.training.conftest import SpecMaker, spec_in


class Watch:
    """Keeps the events and, with ``when``, asks for the end at the first event that fits."""

    def __init__(self, when: Callable[[Event], bool] = lambda event: False) -> None:
        self.events: list[Event] = []
        self.stop = False
        self._when = when

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.stop = self.stop or self._when(event)

    def cancelled(self) -> bool:
        return self.stop

    @property
    def losses(self) -> dict[int, float]:
        return losses(self.events)


def losses(seen: list[Event]) -> dict[int, float]:
    return {e.step: e.loss for e in seen if isinstance(e, Progress) and e.loss is not None}


def at_step(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Progress) and event.stage == "train" and event.step >= number


class Done:
    """One unbroken training of six steps that several tests look at."""

    def __init__(self, folder: Path, astronaut: Image, checkpoint: Path) -> None:
        self.spec = spec_in(folder, astronaut, checkpoint, max_train_steps=6)
        self.folder = self.spec.person_folder / "job"
        self.watch = Watch()
        self.result: TrainingResult = job.run(self.spec, self.folder, self.watch, self.watch.cancelled)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, astronaut: Image, checkpoint: Path) -> Done:
    return Done(tmp_path_factory.mktemp("done"), astronaut, checkpoint)


# --- a whole training ------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_training_leaves_a_person(done: Done) -> None:
    person = done.spec.person_folder
    names = {str(p.relative_to(person)) for p in person.rglob("*") if p.is_file() and "job" not in p.parts}
    user = done.spec.user_id
    assert {
        "ref_image.jpg",
        "person.json",
        "photo_report.json",
        "photo_report.jpg",
        "processed_images/metadata.jsonl",
        "processed_images/train/2.jpg",
        f"user_weights/best_outputs/{user}.safetensors",
        f"user_weights/best_outputs/{user}.jpg",
        *(f"user_weights/checkpoint-{step}.safetensors" for step in (2, 4, 6)),
    } <= names
    assert done.result.lora.is_file() and done.result.steps == 6
    marks = json.loads((person / "person.json").read_text(encoding="utf-8"))
    assert marks["family"] == "bench" and marks["steps"] == 6 and marks["rank"] == 4
    assert marks["works"] is done.result.works
    assert marks["panel"] == done.result.panel


@pytest.mark.thorough
def test_the_last_event_has_the_panel_of_the_likeness(done: Done) -> None:
    """The tiny model draws no face, so each face is missing and counts as a stranger's."""
    last = done.watch.events[-1]
    assert isinstance(last, Finished)
    panel = last.result["panel"]
    assert {"judge", "reporter", "copying", "dominant_photo", "held_out"} <= set(panel)
    assert set(panel["judge"]) == {"embedder", "value", "floor", "ceiling", "threshold"}
    assert panel["judge"]["embedder"] == "dlib-resnet" and panel["reporter"] is None and panel["proven"] is False
    assert panel["missing"] == panel["pictures"] > 0
    assert panel["judge"]["value"] == panel["judge"]["floor"] < panel["judge"]["ceiling"]


@pytest.mark.thorough
def test_the_lora_says_what_it_is(done: Done) -> None:
    info = headers.inspect(done.result.lora)
    assert (info.family, info.kind, info.rank, info.alpha) == (Family.BENCH, "lora", 4, 2.0)
    assert info.metadata["ss_steps"] == "6"
    assert info.metadata["ss_network_module"] == "networks.lora"
    assert "likeness" in info.metadata["ss_training_comment"]
    layers = lora_files.read(done.result.lora).layers
    assert {n.split("_")[1] for n in layers} == {"unet", "te"}
    assert any(layer.up.abs().max() > 0 for layer in layers.values())


@pytest.mark.thorough
def test_the_events_tell_the_whole_story(done: Done) -> None:
    seen = done.watch.events
    kinds = [type(e) for e in seen if not isinstance(e, Progress | Notice)]
    assert kinds == [PhotosChecked, Started, *[Validated] * 4, Fused, Finished]
    assert [e.step for e in seen if isinstance(e, Validated)] == [0, 2, 4, 6]
    stages = list(dict.fromkeys(e.stage for e in seen if isinstance(e, Progress)))
    assert stages == ["photos", "crops", "latents", "validate", "train", "fuse"]
    assert sorted(done.watch.losses) == [1, 2, 3, 4, 5, 6]
    last = [e for e in seen if isinstance(e, Progress) and e.stage == "train"][-1]
    assert last.seconds_left is not None and last.seconds_left >= 0
    validated = [e for e in seen if isinstance(e, Validated)]
    assert all(Path(p).is_file() for e in validated for p in e.pictures)
    assert list(events.read_log(done.folder / "events.jsonl")) == seen


@pytest.mark.thorough
def test_a_model_that_makes_no_faces_did_not_work_and_says_so(done: Done) -> None:
    assert done.result.works is False
    assert any("did not work" in e.message for e in done.watch.events if isinstance(e, Notice))


@pytest.mark.thorough
def test_what_only_a_resume_needs_is_gone(done: Done) -> None:
    left = {p.name for p in done.folder.iterdir()}
    assert not {state.STATE, "latents.safetensors", "user_weights", "processed_images"} & left


# --- cut short -------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_after_kill_9_the_losses_are_those_of_an_unbroken_training(done: Done, make_spec: SpecMaker) -> None:
    spec = make_spec(max_train_steps=6, photos=done.spec.photos)
    folder = spec.person_folder / "job"
    folder.mkdir(parents=True)
    (folder / worker.JOB).write_text(spec.to_json(), encoding="utf-8")
    child = subprocess.Popen([sys.executable, "-m", "easyphoto.training.worker", str(folder)])
    log = folder / worker.EVENTS
    while max(losses(list(events.read_log(log))), default=0) < 3:
        assert child.poll() is None, "the trainer ended before it could be killed"
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not spec.lora_path.exists()
    before = losses(list(events.read_log(log)))

    watch = Watch()
    again = make_spec(max_train_steps=6, photos=done.spec.photos, resume=True)
    result = job.run(again, folder, watch, watch.cancelled)
    assert min(watch.losses) in (3, 5)
    assert {**before, **watch.losses} == done.watch.losses
    resumed, unbroken = (lora_files.read(r.lora).layers for r in (result, done.result))
    assert all(
        torch.equal(resumed[n].up, unbroken[n].up) and torch.equal(resumed[n].down, unbroken[n].down) for n in unbroken
    )


@pytest.mark.thorough
def test_cancelling_stops_within_a_step_and_leaves_a_usable_lora(done: Done, make_spec: SpecMaker) -> None:
    spec = make_spec(max_train_steps=5000, steps_per_photos=5000, val_and_checkpointing_steps=5000, validation=False)
    watch = Watch(at_step(1))
    with pytest.raises(Cancelled):
        job.run(spec, spec.person_folder / "job", watch, watch.cancelled)
    asked = next(e.at for e in watch.events if at_step(1)(e))
    took = [e for e in watch.events if at_step(1)(e)]
    assert took[-1].at - asked < 30 and took[-1].step < 5000  # type: ignore[attr-defined]
    assert isinstance(watch.events[-1], Failed) and watch.events[-1].code == "cancelled"
    layers = lora_files.read(spec.lora_path).layers
    assert any(layer.up.abs().max() > 0 for layer in layers.values())
    assert headers.inspect(spec.lora_path).metadata["ss_steps"] == str(took[-1].step)  # type: ignore[attr-defined]
    assert (spec.person_folder / "ref_image.jpg").is_file()
    assert state.load_state(spec.person_folder / "job") is not None


@pytest.mark.slow
def test_a_cancelled_training_keeps_the_lora_that_was_there(make_spec: SpecMaker) -> None:
    spec = make_spec(max_train_steps=600, steps_per_photos=600, val_and_checkpointing_steps=600, validation=False)
    spec.lora_path.parent.mkdir(parents=True)
    spec.lora_path.write_bytes(b"the earlier one")
    watch = Watch(at_step(1))
    with pytest.raises(Cancelled):
        job.run(spec, spec.person_folder / "job", watch, watch.cancelled)
    assert spec.lora_path.read_bytes() == b"the earlier one"
    assert not (spec.person_folder / "ref_image.jpg").exists()


@pytest.mark.thorough
def test_a_killed_trainer_is_an_error_with_a_reason(make_spec: SpecMaker) -> None:
    import psutil

    def kill(event: Event) -> bool:
        if isinstance(event, Progress) and event.stage == "photos":
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):  # a child that was killed before and not yet buried
                    if "easyphoto.training.worker" in child.cmdline():
                        child.kill()
        return False

    spec = make_spec()
    watch = Watch(kill)
    with pytest.raises(TrainingFailed, match="killed by the system"):
        job.run(spec, spec.person_folder / "job", watch, watch.cancelled)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("end", ["signal", "parent"])
def test_a_signal_or_a_parent_that_is_gone_ends_it_like_a_cancel(make_spec: SpecMaker, end: str) -> None:
    spec = make_spec(max_train_steps=5000, steps_per_photos=5000, val_and_checkpointing_steps=5000, validation=False)
    folder = spec.person_folder / "job"
    folder.mkdir(parents=True)
    (folder / worker.JOB).write_text(spec.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "easyphoto.training.worker", str(folder)]
    environment = {**os.environ, worker.WATCHED: "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:
        while not losses(list(events.read_log(folder / worker.EVENTS))):
            assert child.poll() is None
            time.sleep(0.05)
        if end == "signal":
            child.send_signal(signal.SIGTERM)
        else:
            assert child.stdin is not None
            child.stdin.close()
        assert child.wait(400) == Cancelled.exit_status, "seconds on an idle machine, minutes on a crowded one"
    assert lora_files.read(spec.lora_path).layers
    assert state.load_state(folder) is not None


@pytest.mark.slow
def test_a_scene_is_trained_without_a_face(make_spec: SpecMaker, tmp_path: Path) -> None:
    from easyphoto import pictures
    from tests.fakes import blank

    photos = tuple(tmp_path / f"{i}.png" for i in range(2))
    for i, path in enumerate(photos):
        pictures.save_png(path, blank(120 + 20 * i, 100))
    spec = make_spec(photos=photos, train_mode_choose=TRAIN_MODES[1], training_prefix_prompt="a grey wall")
    run(spec)
    info = headers.inspect(spec.lora_path)
    assert info.metadata["modelspec.trigger_phrase"] == "a grey wall"
    marks = json.loads((spec.person_folder / "person.json").read_text(encoding="utf-8"))
    assert marks["scene"] is True and marks["works"] is True and marks["likeness"] is None
    assert "a grey wall" in (spec.person_folder / "processed_images" / "metadata.jsonl").read_text(encoding="utf-8")


# --- what can't be done ----------------------------------------------------------------------------------------------


def run(spec: TrainingSpec) -> None:
    watch = Watch()
    job.run(spec, spec.person_folder / "job", watch, watch.cancelled)


@pytest.mark.thorough
def test_photos_without_a_face_are_refused_as_that(make_spec: SpecMaker, tmp_path: Path) -> None:
    from easyphoto import pictures
    from tests.fakes import blank

    pictures.save_png(tmp_path / "wall.png", blank(200, 200))
    spec = make_spec(photos=(tmp_path / "wall.png",))
    with pytest.raises(NoFace, match=r"wall\.png: no face"):
        run(spec)
    assert "NoFace" in (spec.person_folder / "job" / "error.txt").read_text(encoding="utf-8")
    assert (spec.person_folder / "photo_report.jpg").is_file()


def test_two_trainings_of_one_person_are_one_too_many(make_spec: SpecMaker) -> None:
    from filelock import FileLock

    spec = make_spec()
    folder = spec.person_folder / "job"
    folder.mkdir(parents=True)
    for name in (job.PARENT_LOCK, worker.LOCK):
        with FileLock(folder / name), pytest.raises(InvalidRequest, match="being trained already"):
            run(spec)


def test_a_python_that_is_not_there_is_a_sentence(make_spec: SpecMaker, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="could not be started"):
        run(make_spec(python=tmp_path / "no-python"))


def test_the_last_words_of_a_crash_are_kept(make_spec: SpecMaker, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: libcuda is not there' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(TrainingFailed, match="status 3: ImportError: libcuda is not there"):
        run(make_spec(python=broken))


def test_a_folder_that_cant_be_made_is_a_sentence(make_spec: SpecMaker, tmp_path: Path) -> None:
    (tmp_path / "people").write_text("a file where the folder should be")
    with pytest.raises(StorageFailed, match="job"):
        run(make_spec())


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(28, "No space left on device"), StorageFailed, "disk is full"),
        (PermissionError(13, "Permission denied", "/x"), StorageFailed, "/x can't be written"),
        (MemoryError(), TrainingFailed, "memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), TrainingFailed, "memory ran out"),
        (RuntimeError("boom\nsecond line"), TrainingFailed, "RuntimeError: boom"),
        (NoFace("as it is."), NoFace, "as it is."),
    ],
)
def test_every_error_is_one_sentence(error: BaseException, kind: type[Exception], words: str) -> None:
    told = worker.in_a_sentence(error)
    assert type(told) is kind
    assert words in str(told) and "\n" not in str(told)


@pytest.mark.thorough
def test_a_full_disk_ends_the_training_with_a_sentence(make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the child is limited to 20 kB: the first large one is as on a full disk."""
    import resource

    spec = make_spec(python=None)
    real = subprocess.Popen

    def limited(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        return real(*args, preexec_fn=limit, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(subprocess, "Popen", limited)
    with pytest.raises((StorageFailed, TrainingFailed)) as raised:
        run(spec)
    assert "written" in str(raised.value) or "full" in str(raised.value)


def test_the_job_file_survives_the_trip(make_spec: SpecMaker) -> None:
    spec = make_spec(resume=True)
    assert TrainingSpec.from_json(spec.to_json()) == spec
    with pytest.raises(InvalidRequest, match="job file"):
        TrainingSpec.from_json("{}")
