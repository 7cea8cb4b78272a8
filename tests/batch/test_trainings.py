"""A folder of folders: who is trained is passed over, who was stopped goes on, and every wrong folder is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.batch import people_folders, training_run
from easyphoto.batch.faults import WrongRows
from easyphoto.batch.outcomes import BatchResult
from easyphoto.errors import Cancelled, InvalidRequest
from easyphoto.events import Progress, RowFailed
from easyphoto.service import EasyPhoto
from tests.acting import photos_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("bob", "cy", "dee")):
        photos_in(tmp_path / "people" / name, 2, who=30 + number)
    return tmp_path / "people"


def batch_of(service: EasyPhoto, root: Path, **chosen: object) -> training_run.TrainingBatch:
    people, _ = people_folders.require(root, service, service.train_config(chosen), frozenset(chosen))
    return training_run.TrainingBatch(root.name, training_run.report_folder(service, root.name), people)


def run(service: EasyPhoto, root: Path, **chosen: object) -> BatchResult:
    return training_run.start(service, batch_of(service, root, **chosen)).wait(120)


def counts(result: BatchResult) -> tuple[int, int, int, int]:
    made, there, failed, left = (result.count(s) for s in ("made", "there", "failed", "left"))  # type: ignore[arg-type]
    return made, there, failed, left


def test_everybody_is_trained_once(service: EasyPhoto, root: Path) -> None:
    before = training_run.forecast(service, batch_of(service, root))
    assert (before.total, before.there, before.seconds) == (3, 0, None)
    result = run(service, root)
    assert counts(result) == (3, 0, 0, 0)
    assert {"bob", "cy", "dee"} < {person.user_id for person in service.people.list()}
    page = result.report.read_text()
    assert page.count("<img") == 3 and "0.82" in page and "bob" in page
    assert counts(run(service, root)) == (0, 3, 0, 0)
    assert training_run.forecast(service, batch_of(service, root)).there == 3


def test_other_photos_or_other_options_are_trained_anew(service: EasyPhoto, root: Path) -> None:
    run(service, root)
    photos_in(root / "cy", 3, who=31)
    assert counts(run(service, root)) == (1, 2, 0, 0)
    assert counts(run(service, root, rank=32)) == (3, 0, 0, 0)
    assert counts(run(service, root, rank=32)) == (0, 3, 0, 0)
    assert counts(run(service, root, training_style="as the original")) == (3, 0, 0, 0)
    assert counts(run(service, root, training_style="as the original")) == (0, 3, 0, 0)


def test_a_stopped_training_goes_on(service: EasyPhoto, root: Path) -> None:
    job = training_run.start(service, batch_of(service, root))
    for _, event in job.events():
        if isinstance(event, Progress) and event.stage == "train" and event.step == 5:
            job.cancel()
            break
    with pytest.raises(Cancelled, match="of 3 are there; start it again"):
        job.wait(60)
    stopped = [p.name for p in root.iterdir() if service.people.at(p.name).job.state.is_file()]
    if stopped:  # or it had ended before it heard of it
        assert people_folders.standing(batch_of(service, root).people[0], service) in ("stopped", "trained")
    result = run(service, root)
    assert result.count("failed") == 0 and result.count("left") == 0


def test_every_wrong_folder_is_told_before_anything_begins(service: EasyPhoto, root: Path) -> None:
    (root / "empty").mkdir()
    (root / "none").mkdir()
    photos_in(root / "none", 1)
    (root / "words").mkdir()
    (root / "words" / "a.jpg").write_text("no picture")
    photos_in(root / "Bob", 1)
    (root / ".hidden").mkdir()
    with pytest.raises(WrongRows) as wrong:
        batch_of(service, root)
    assert [fault.sentence() for fault in wrong.value.faults] == [
        "bob: The name is too much like 'Bob': rename one of them.",
        "empty: There are no pictures in the folder empty.",
        "none: The user id 'none' is a reserved word: choose another.",
        "words: None of the photos can be read.",
    ]
    assert str(wrong.value) == "Nothing was begun; wrong rows in people: 4."
    assert not service.jobs.list()
    with pytest.raises(InvalidRequest, match="There are no folders in empty"):
        batch_of(service, root / "empty")


def test_one_person_that_fails_stops_no_other(service: EasyPhoto, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from easyphoto.errors import TrainingFailed
    from easyphoto.training import job as trainer

    play = trainer.run

    def fails(spec: object, *rest: object) -> object:
        if getattr(spec, "user_id", "") == "cy":
            raise TrainingFailed("The loss was no number.")
        return play(spec, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "run", fails)
    job = training_run.start(service, batch_of(service, root))
    result = job.wait(60)
    assert counts(result) == (2, 0, 1, 0)
    (failed,) = [event for _, event in job.events(follow=False) if isinstance(event, RowFailed)]
    assert (failed.subject, failed.message) == ("cy", "The loss was no number.")
    error = result.error()
    assert isinstance(error, TrainingFailed)
    assert str(error) == "1 of 3 failed; cy: The loss was no number. report.html has all of them."
