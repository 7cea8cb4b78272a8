"""A batch beside other programs on the same data folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from easyphoto.batch import running
from easyphoto.batch.job_notes import JobNotes
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest
from easyphoto.events import Notice
from easyphoto.service import EasyPhoto
from tests.acting import acting_service
from tests.batch.asking import batch_of, run
from tests.waiting import until

TABLE = "user,template,seed,output\nada,templates/template-0.png,1,one\neve,templates/template-1.png,2,two\n"


@pytest.fixture
def file(desk: Path) -> Path:
    (desk / "orders.csv").write_text(TABLE)
    return desk / "orders.csv"


@pytest.fixture
def owner(service: EasyPhoto) -> Iterator[EasyPhoto]:
    """A program that works on the queue, as ``serve`` does."""
    service.jobs.attend()
    until(lambda: service.jobs.works_here)
    yield service
    service.jobs.leave()


@pytest.mark.thorough
def test_a_batch_beside_a_server_is_made_by_the_server(
    owner: EasyPhoto, paths: Paths, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    other = acting_service(paths, monkeypatch)
    job = running.start(other, batch_of(other, file))
    assert job.wait(60).count("made") == 2
    assert not other.jobs.works_here and owner.jobs.works_here
    said = [str(event.message) for _, event in job.events(follow=False) if isinstance(event, Notice)]
    assert any("works on the queue" in sentence for sentence in said), said


@pytest.mark.thorough
def test_a_batch_that_waits_says_why(service: EasyPhoto, file: Path) -> None:
    service.jobs.pause()
    job = running.start(service, batch_of(service, file))
    said = next(event.message for _, event in job.events() if isinstance(event, Notice))
    assert "paused" in said and not job.ended
    service.jobs.resume()
    assert job.wait(60).count("made") == 2


@pytest.mark.thorough
def test_two_programs_dont_make_one_batch(service: EasyPhoto, file: Path) -> None:
    batch = batch_of(service, file)
    batch.folder.mkdir(parents=True)
    with (
        FileLock(batch.folder / ".batch.lock", thread_local=False),
        pytest.raises(InvalidRequest, match="batch-orders"),
    ):
        running.start(service, batch).wait(60)
    assert run(service, file).count("made") == 2


@pytest.mark.thorough
def test_what_a_killed_batch_had_made_is_moved_to_its_place(service: EasyPhoto, file: Path) -> None:
    """Its program was killed after a portrait was made and before it was moved."""
    batch = batch_of(service, file)
    job = service.generate(batch.pieces[0].request)
    job.wait(60)
    JobNotes(batch.folder).write([job.id])
    assert list(service.paths.portraits.glob("*.png"))
    result = run(service, file)
    assert (result.count("there"), result.count("made")) == (1, 1)
    assert [p.name for p in sorted(service.paths.portraits.rglob("*.png"))] == ["one.png", "two.png"]
