"""Tests of what an earlier training that ended badly leaves behind, and how the next training deals with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from easyphoto import events, families
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.events import Event, Failed, Notice, PhotosChecked, Progress
from easyphoto.training import job, state, validation
from easyphoto.training.phase import Training
from easyphoto.training.phases import look, train
from easyphoto.training.spec import TrainingSpec
from easyphoto.training.standing import TrainingStanding
from easyphoto.vision import masks
from tests.acting import photos_in, portrait_of
from tests.fakes import FakeVision


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
def test_a_state_that_cant_be_read_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / state.STATE).write_bytes(content)
    with pytest.raises(InvalidRequest, match="without resume"):
        state.load_state(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"step": 1}]', "7"])
def test_scores_that_cant_be_read_are_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / state.SCORES).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequest, match="without resume"):
        state.load_scores(tmp_path)


def test_an_event_that_a_full_disk_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    """Half a line stays in the log when the disk fills; what is written once there is room again follows on it."""
    log = tmp_path / "events.jsonl"
    whole = events.to_json(Progress(stage="train", step=1, total=2))
    log.write_text(whole + "\n" + whole[:25], encoding="utf-8")
    tail = job._tail(log)
    assert [type(e) for e in next(tail)] == [Progress]
    events.append(log, [Failed(code="storage_failed", message="The disk is full.")])
    (last,) = next(tail)
    assert isinstance(last, Failed) and last.message == "The disk is full."
    with log.open("a", encoding="utf-8") as file:
        file.write("nonsense\n" + whole + "\n")
    assert [type(e) for e in next(tail)] == [Progress]


def test_validation_pictures_that_cant_be_written_cost_the_pictures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, vision = portrait_of(20, 128, 128), FakeVision()
    monkeypatch.setattr(validation.render, "img2img", lambda *_: SimpleNamespace(image=image))
    templates = [validation.ValidationTemplate(image, masks.empty((128, 128)), "a")] * 2
    photo = vision.embedder.embed(image, vision.detector.detect(image)[0])
    validator = validation.Validator(cast("Any", SimpleNamespace(family=Family.BENCH)), vision, templates, [photo], 1)
    (tmp_path / "file").write_bytes(b"")  # no folder can be made below it, whoever tries
    told: list[Event] = []
    plan = cast("Any", SimpleNamespace(steps=2, validations=2))
    training = Training(cast("Any", None), tmp_path / "file", vision, told.append, lambda: False)
    standing = TrainingStanding(training, plan, validator)
    scores = [standing.measure(step, f"step-{step}", "validate") for step in (1, 2)]
    assert [s.cosine for s in scores] == [validator.score(1, None, "").cosine] * 2
    assert all(s.pictures == ("", "") for s in scores) and validation.best_picture(scores) is None
    assert train._validated(scores[0], standing.embedder, None).pictures == ()
    assert [e.message for e in told if isinstance(e, Notice)] == [
        "Pictures of the validation can't be written and are left out."
    ]


def test_a_torn_face_counts_as_that_of_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    image, vision = portrait_of(20, 128, 128), FakeVision()
    (face,) = vision.detector.detect(image)
    template = validation.ValidationTemplate(image, masks.empty((128, 128)), "a", face)
    photo = vision.embedder.embed(image, face)
    validator = validation.Validator(cast("Any", SimpleNamespace(family=Family.BENCH)), vision, [template], [photo], 1)
    assert validator.cosine(image, template) == pytest.approx(1.0)
    monkeypatch.setattr(validation.damage, "torn", lambda *_: True)
    assert validator.cosine(image, template) == vision.embedder.calibration.stranger_mean


def test_a_report_that_cant_be_written_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    spec = TrainingSpec(
        user_id="ann",
        photos=tuple(photos_in(tmp_path / "photos")),
        config=families.spec(Family.BENCH).train_config(),
        checkpoint=tmp_path,
        family=Family.BENCH,
        person_folder=tmp_path / "file" / "ann",
        lora_path=tmp_path / "l",
        models=tmp_path,
    )
    told: list[Event] = []
    material = look.choose(Training(spec, tmp_path / "job", FakeVision(), told.append, lambda: False))
    assert material.selection is not None
    (checked,) = (e for e in told if isinstance(e, PhotosChecked))
    assert checked.picture == "" and checked.taken == 5
    assert sum("left out" in e.message for e in told if isinstance(e, Notice)) >= 1
