"""Batches from end to end on the real service and queue, with a host that costs nothing: what is there is passed over,
what fails fails alone, and the report is safe to open."""

from __future__ import annotations

import csv
import os
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.batch import contact_page, running
from easyphoto.batch.job_notes import JobNotes
from easyphoto.batch.outcomes import BatchResult, Outcome, words_in
from easyphoto.errors import Cancelled, HostFailed, NoFace, StorageFailed
from easyphoto.events import Progress, RowFailed
from easyphoto.inference import recipe
from easyphoto.ports import Txt2Img
from easyphoto.service import EasyPhoto
from tests.acting import lora_file, portrait_of
from tests.batch.asking import batch_of, run, until_stopped
from tests.fakes import FakeHost, blank

TABLE = """\
user,template,seed,batch_size,output
ada,templates/template-0.png,5,,first
eve,templates,,,
ada|none,templates/template-1.png,7,2,twice
"""


@pytest.fixture
def file(desk: Path) -> Path:
    (desk / "orders.csv").write_text(TABLE)
    return desk / "orders.csv"


def made(service: EasyPhoto) -> int:
    """How many portraits the host has been asked for since the last time."""
    assert isinstance(service.host, FakeHost)
    count = len({(job.seed, job.prompt, job.image.tobytes()) for job in service.host.jobs if hasattr(job, "image")})
    service.host.jobs.clear()
    return count


def files(result: BatchResult) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(result.folder.glob("*.png"))}


def counts(result: BatchResult) -> tuple[int, int, int, int]:
    made_now, there, failed, left = (result.count(s) for s in ("made", "there", "failed", "left"))  # type: ignore[arg-type]
    return made_now, there, failed, left


@pytest.mark.thorough
def test_a_second_run_makes_nothing(service: EasyPhoto, file: Path) -> None:
    first = run(service, file)
    assert counts(first) == (5, 0, 0, 0) and made(service) > 0
    there = files(first)
    assert {"first.png", "twice-1.png", "twice-2.png"} < set(there) and len(there) == 5
    assert [recipe.read(first.folder / f"twice-{n}.png").seed for n in (1, 2)] == [7, 8]
    assert not list(service.paths.portraits.glob("*.png")), "they were brought to their place"
    again = run(service, file)
    assert counts(again) == (0, 5, 0, 0) and made(service) == 0
    assert files(again) == there


@pytest.mark.thorough
def test_what_was_changed_is_made_anew_and_the_earlier_one_stays(service: EasyPhoto, file: Path) -> None:
    before = files(run(service, file))
    pictures.save_png(file.parent / "templates" / "template-0.png", portrait_of(44, 384, 384))
    changed = run(service, file)
    assert counts(changed) == (2, 3, 0, 0)
    assert set(before.values()) < set(files(changed).values()) and files(changed)["first.png"] != before["first.png"]
    made(service)
    pictures.write_bytes(service.people.lora("ada"), lora_file(ss_training_comment="another training"))
    assert counts(run(service, file)) == (3, 2, 0, 0)
    file.write_text(TABLE.replace(",first", ",renamed").replace("twice", "two"))
    renamed = run(service, file)
    assert counts(renamed) == (0, 5, 0, 0)
    assert (renamed.folder / "renamed.png").is_file() and not (renamed.folder / "first.png").exists()
    assert (renamed.folder / "two-2.png").is_file()


def test_names_change_places(service: EasyPhoto, desk: Path) -> None:
    file = desk / "t.csv"
    file.write_text("user,template,output\nada,templates/template-0.png,a\nada,templates/template-1.png,b\n")
    one = files(run(service, file))
    file.write_text("user,template,output\nada,templates/template-0.png,b\nada,templates/template-1.png,a\n")
    other = run(service, file)
    assert counts(other) == (0, 2, 0, 0)
    assert files(other) == {"a.png": one["b.png"], "b.png": one["a.png"]}


@pytest.mark.thorough
def test_a_portrait_that_was_made_elsewhere_is_taken_and_stays_there(service: EasyPhoto, file: Path) -> None:
    piece = batch_of(service, file).pieces[0]
    (alone,) = service.generate(piece.request).wait(60).portraits
    made(service)
    result = run(service, file)
    assert counts(result) == (4, 1, 0, 0)
    assert alone.path is not None and alone.path.read_bytes() == (result.folder / "first.png").read_bytes()


@pytest.mark.thorough
def test_half_a_file_is_no_portrait(service: EasyPhoto, file: Path) -> None:
    result = run(service, file)
    whole = (result.folder / "first.png").read_bytes()
    (result.folder / "first.png").write_bytes(whole[:-40])
    again = run(service, file)
    assert counts(again) == (1, 4, 0, 0)
    assert pictures.load(again.folder / "first.png").tobytes() == pictures.load(result.folder / "first.png").tobytes()


def test_a_row_that_fails_fails_alone(service: EasyPhoto, file: Path) -> None:
    pictures.save_png(file.parent / "templates" / "template-1.png", blank(200, 200))
    job = running.start(service, batch_of(service, file))
    result = job.wait(60)
    assert counts(result) == (2, 0, 3, 0)
    failed = [event for _, event in job.events(follow=False) if isinstance(event, RowFailed)]
    assert [event.line for event in failed] == [3, 4, 4]
    assert {event.message for event in failed} == {"No face was found in template-1.png."}
    error = result.error()
    assert isinstance(error, NoFace)
    assert str(error) == "3 of 5 failed; Line 3: No face was found in template-1.png. report.html has all of them."
    page = result.report.read_text()
    assert page.count("No face was found in template-1.png.") == 3
    with result.csv.open(encoding="utf-8-sig", newline="") as rows:
        found = list(csv.DictReader(rows))
    assert [row["state"] for row in found] == ["made", "made", "failed", "failed", "failed"]
    assert [row["line"] for row in found] == ["2", "3", "3", "4", "4"]
    assert found[0]["file"] == "first.png" and float(found[0]["likeness"]) >= 0


@pytest.mark.thorough
def test_a_cancelled_batch_keeps_what_is_made_and_goes_on(service: EasyPhoto, file: Path) -> None:
    assert isinstance(service.host, FakeHost)
    held, go = threading.Event(), threading.Event()

    def hold(job: Txt2Img) -> None:
        if job.seed == 7:
            held.set()
            go.wait(60)
            until_stopped(service)

    service.host.before = hold
    job = running.start(service, batch_of(service, file))
    assert held.wait(60)
    job.cancel()
    go.set()
    with pytest.raises(Cancelled, match="3 of 5 are there; start it again to make the rest"):
        job.wait(60)
    assert all(one.ended for one in service.jobs.list())
    folder = running.folder_of(service, file.name)
    assert "What is still to be made" in (folder / contact_page.PAGE).read_text()
    service.host.before = None
    assert counts(run(service, file)) == (2, 3, 0, 0)


@pytest.mark.thorough
def test_what_a_killed_batch_left_in_the_queue_is_not_made_twice(service: EasyPhoto, file: Path) -> None:
    assert isinstance(service.host, FakeHost)
    held, go = threading.Event(), threading.Event()

    def hold(job: Txt2Img) -> None:
        held.set()
        go.wait(60)

    service.host.before = hold
    batch = batch_of(service, file)
    other = service.generate(batch.pieces[4].request)
    assert held.wait(60)
    left = service.generate(batch.pieces[0].request)
    JobNotes(batch.folder).write([left.id, "nonesuch"])
    job = running.start(service, batch)
    with pytest.raises(Cancelled):
        left.wait(60)
    service.host.before = None
    go.set()
    other.wait(60)
    result = job.wait(60)
    assert result.count("failed") == 0 and len(files(result)) == 5
    assert not (batch.folder / ".jobs.json").exists()
    assert sum(one.what == "generate" and one.state == "finished" for one in service.jobs.list()) in (5, 6)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom a folder can refuse")
def test_a_folder_that_cannot_be_written_stops_the_batch(service: EasyPhoto, file: Path) -> None:
    service.paths.portraits.mkdir(parents=True)
    service.paths.portraits.chmod(0o500)
    with pytest.raises(StorageFailed, match="0 of 5 are there; make room"):
        run(service, file)


@pytest.mark.thorough
def test_a_disk_that_fills_up_is_one_sentence_and_the_batch_goes_on_later(
    service: EasyPhoto, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = pictures.save_png
    room = [3]

    def save_while_there_is_room(path: Path, *rest: object, **more: object) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise StorageFailed(
                "{name} could not be written: {reason}.", name=path.name, reason="No space left on device"
            )
        save(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "save_png", save_while_there_is_room)
    job = running.start(service, batch_of(service, file))
    with pytest.raises(StorageFailed) as full:
        job.wait(60)
    assert "No space left on device. The batch was stopped: 3 of 5 are there" in str(full.value)
    monkeypatch.undo()
    monkeypatch.setattr(pictures, "save_png", save)
    made(service)
    assert counts(run(service, file)) == (2, 3, 0, 0)


@pytest.mark.thorough
def test_one_row_that_the_host_breaks_on_stops_no_other(service: EasyPhoto, file: Path) -> None:
    assert isinstance(service.host, FakeHost)

    def breaks(job: Txt2Img) -> None:
        if job.seed == 5:
            raise HostFailed("The card fell off the bus.")

    service.host.before = breaks
    result = run(service, file)
    assert counts(result) == (4, 0, 1, 0) and isinstance(result.error(), HostFailed)


@pytest.mark.thorough
def test_a_forecast_begins_nothing(service: EasyPhoto, file: Path) -> None:
    batch = batch_of(service, file)
    before = running.forecast(service, batch)
    assert (before.total, before.there, before.seconds) == (5, 0, None)
    assert before.bytes == 5 * 384 * 384 * 3 and before.free
    assert before.sentences()[:2] == [
        "5 portraits: 0 are there, 5 are to be made.",
        "How long that takes is not known: too few were made on this base model.",
    ]
    assert not service.paths.portraits.exists() and not service.jobs.list()
    running.start(service, batch).wait(60)
    pictures.save_png(file.parent / "templates" / "template-0.png", portrait_of(44, 384, 384))
    after = running.forecast(service, batch_of(service, file))
    assert (after.total, after.there) == (5, 3)
    assert after.seconds is not None and 0 < after.seconds < 60
    assert after.sentences()[1].startswith("That takes about ")


@pytest.mark.thorough
def test_progress_counts_every_portrait(service: EasyPhoto, file: Path) -> None:
    job = running.start(service, batch_of(service, file))
    job.wait(60)
    steps = [(e.step, e.total) for _, e in job.events(follow=False) if isinstance(e, Progress)]
    assert steps == [(n, 5) for n in range(6)]


class _Tags(HTMLParser):
    """Every tag and address of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]


def test_hostile_names_are_text_in_the_report(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    folder = tmp_path / "out"
    names = ["javascript:alert(3)", "50% #1 ?x=&amp;", "张伟 😀", "=cmd|'/c calc'!A1", "\u202egnp.exe"]
    outcomes = []
    for number, name in enumerate(names, 2):
        path = folder / f"{name}.png"
        pictures.save_png(path, portrait_of(20, 64, 80))
        outcomes.append(Outcome(number, name, f"{hostile}{name}", hostile, "made", path, (0.5,), hostile, 7))
    outcomes.append(Outcome(9, "none", "=1+1", hostile, "failed", code="no_face", message=f"@{hostile}"))
    outcomes.append(Outcome(10, "left", "\udcff broken", "-2", "left"))
    result = contact_page.write(f"</title><script>{hostile}", folder, outcomes, "zh")
    page = result.report.read_text(encoding="utf-8")
    seen = _Tags(page)
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "figure", "a", "img"}
    assert seen.tags <= allowed | {"figcaption", "span", "br", "table", "tr", "td"}
    assert not any(name.startswith("on") for name in seen.attributes)
    assert all(address.startswith("./") for address in seen.addresses)
    from urllib.parse import unquote

    assert all((folder / unquote(address)).is_file() for address in seen.addresses) and len(seen.addresses) == 10
    assert "本次完成 5 个" in page and str(tmp_path) not in page
    with result.csv.open(encoding="utf-8-sig", newline="") as rows:
        cells = [cell for row in csv.reader(rows) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "-"))]
    assert "'=cmd|'/c calc'!A1" in cells and "'=1+1" in cells


def test_the_report_says_in_words_whom_a_portrait_looks_like(tmp_path: Path) -> None:
    hostile, words = "<script>3.jpg", ("looks like the person", "looks like a relative", "looks like the template")
    pictures.save_png(tmp_path / "a.png", portrait_of(20, 64, 80))
    faces = [{"score": 0.5, "embedder": "e", "word": word, "dominant_photo": "1.jpg"} for word in words]
    faces.append({"score": 0.5, "embedder": "e", "word": "copies a photo", "dominant_photo": hostile})
    told = words_in({"likeness": [*faces, None, {"score": 0.5, "embedder": "e"}, {"word": "made up"}]})
    outcome = Outcome(2, "a", "anna", "mine", "made", tmp_path / "a.png", (0.5,), "e", 7, words=told)
    page = contact_page.write("batch", tmp_path, [outcome]).report.read_text(encoding="utf-8")
    for said in (
        "Looks like the person.",
        "Looks like a relative.",
        "Looks like the template.",
        "Copies &lt;script&gt;3",
    ):
        assert said in page
    assert "made up" not in page
    assert words_in({"likeness": 3}) == words_in({}) == ()


def test_the_same_row_has_the_same_seed_whatever_was_trained(service: EasyPhoto, file: Path) -> None:
    before = [piece.seed for piece in batch_of(service, file).pieces]
    pictures.write_bytes(service.people.lora("eve"), lora_file(ss_training_comment="another training"))
    after = batch_of(service, file).pieces
    assert [piece.seed for piece in after] == before and len(set(before)) == 5
    assert before[0] == 5 and before[3:] == [7, 8]
