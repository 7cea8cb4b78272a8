"""The queue in its database: what it keeps, who works on it, and what it does when disks and programs fail."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from easyphoto.errors import Cancelled, EasyPhotoError, InvalidRequest, NoFace, NotFound, StorageFailed, TooBusy
from easyphoto.events import (
    Event,
    Failed,
    Finished,
    Listener,
    Notice,
    Portrayed,
    Preview,
    Progress,
    TemplateFailed,
    wants_previews,
)
from easyphoto.jobs import BATCH, Job
from easyphoto.queue import durable
from easyphoto.queue.database import FILE
from easyphoto.queue.durable import DurableQueue
from easyphoto.queue.lanes import LocalRunner
from easyphoto.queue.port import DurableRequest, Order
from tests.looking import contents
from tests.waiting import until

PHOTO = b"a photo of ada " * 5000


class Work:
    """A kind of work that does what a test tells it to."""

    def __init__(self, what: Callable[[DurableRequest, Listener, Callable[[], bool]], Any] | None = None) -> None:
        self.what = what
        self.seen: list[DurableRequest] = []

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> dict[str, Any]:
        self.seen.append(request)
        made = self.what(request, emit, cancelled) if self.what else request.payload.get("n")
        emit(Finished(result={"made": made}))
        return {"made": made}

    def to_data(self, result: dict[str, Any]) -> dict[str, Any]:
        return result

    def from_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"made": data["made"]}


class Programs:
    """Programs on one folder: each a queue of its own with its own locks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queues: list[DurableQueue] = []

    def start(self, work: Work | None = None, **more: Any) -> DurableQueue:
        queue = DurableQueue(self.folder, **more)
        if work is not None:
            queue.kinds.update(train=work, generate=work)
        self.queues.append(queue)
        return queue


def gone(queue: DurableQueue) -> None:
    """As if the program had ended: what it has asked for is nobody's own any more, and it lets the queue go."""
    queue.leave()
    for job in queue.list():
        job.own = False  # type: ignore[attr-defined]
    until(lambda: queue._ticking is None and not queue.works_here)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    found = Programs(tmp_path / "queue 队列")
    yield found
    for queue in found.queues:
        queue.leave()
        for job in queue.list():
            with contextlib.suppress(EasyPhotoError):
                job.cancel()


def order(n: int = 0, *users: str, kind: str = "generate", pictures: tuple[Any, ...] = ()) -> Order:
    return Order(kind, ", ".join(users) or str(n), users, {"n": n}, pictures)


def held(gate: threading.Event) -> Work:
    """Work that goes on until the gate is open or it is cancelled."""

    def work(request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Any:
        emit(Progress(stage="first", step=1, total=2))
        while not gate.wait(0.01):
            if cancelled():
                raise Cancelled("Stopped.")
        return request.payload["n"]

    return Work(work)


def everything_in(folder: Path) -> bytes:
    return b"".join(str(path).encode() + content for path, content in contents(folder).items())


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_what_waits_is_there_after_a_restart_and_goes_on(programs: Programs, tmp_path: Path) -> None:
    named = tmp_path / "Ada's photo.jpg"
    named.write_bytes(PHOTO)
    first = programs.start()  # can do nothing: its jobs wait
    first.pause()
    asked = [first.put(order(n, "ada", pictures=(PHOTO + bytes([n]), named))) for n in range(3)]
    named.unlink()
    gone(first)
    second = programs.start(work := Work())
    assert [job.id for job in second.list()] == [job.id for job in asked]
    assert all(job.state == "queued" for job in second.list()) and second.paused
    second.attend()
    time.sleep(0.6)
    assert work.seen == [], "a pause outlives a restart"
    second.resume()
    assert [second.get(job.id).wait(60) for job in asked] == [{"made": n} for n in range(3)]
    assert [request.pictures[1].named for request in work.seen] == [True] * 3
    assert [request.pictures[1].path.name for request in work.seen] == [named.name] * 3
    assert not (programs.folder / "pictures").exists() and PHOTO not in everything_in(programs.folder)
    third = programs.start(Work())
    assert [job.wait(5) for job in third.list()] == [{"made": n} for n in range(3)]
    numbered = [list(queue.get(asked[0].id).events()) for queue in (second, third)]
    assert numbered[0] == numbered[1] and isinstance(numbered[0][-1][1], Finished)


def test_a_preview_is_shown_and_never_written(programs: Programs) -> None:
    seen, go_on = threading.Event(), threading.Event()

    def work(request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> int:
        until(lambda: wants_previews(emit))
        emit(Preview(stage="first", jpeg="YSBzZWNyZXQgcGljdHVyZQ"))
        emit(Notice(message="one was shown"))
        seen.set()
        assert go_on.wait(60)
        return 1

    queue = programs.start(Work(work))
    job = queue.put(order())
    job.look()
    assert seen.wait(60)
    preview = job.look()
    assert preview is not None and preview.jpeg == "YSBzZWNyZXQgcGljdHVyZQ"
    kept = everything_in(programs.folder)
    assert b"one was shown" in kept and b"YSBzZWNyZXQ" not in kept
    go_on.set()
    job.wait(60)
    assert "preview" not in [event.kind for _, event in job.events(follow=False)]
    assert b"YSBzZWNyZXQ" not in everything_in(programs.folder)


def test_bytes_and_files_come_back_as_they_were_given(programs: Programs, tmp_path: Path) -> None:
    given: list[Any] = []

    def look(request: DurableRequest, *_: Any) -> None:
        given.extend(picture.source for picture in request.pictures)
        given.append(given[1].read_bytes())

    file, missing = tmp_path / "照片 one.png", tmp_path / "gone.png"
    file.write_bytes(b"file")
    programs.start(Work(look)).put(order(pictures=(b"bytes", file, missing))).wait(60)
    assert given[0] == b"bytes" and given[1].name == file.name and given[1] != file and given[3] == b"file"
    assert given[2] == missing, "what is wrong with it is said by whoever reads it"


def test_a_job_that_was_cut_off_goes_on_and_is_marked(programs: Programs) -> None:
    begin = f"""
        import os, sys, time
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.queue.test_durable import Work, DurableQueue, order, Path
        from easyphoto.events import Portrayed
        def dies(request, emit, cancelled):
            emit(Portrayed(template=0, path="one.png"))
            os._exit(9)
        queue = DurableQueue(Path(sys.argv[1]))
        queue.kinds.update(generate=Work(dies))
        queue.put(order(7, "ada", pictures=(b"template",)))
        queue.put(order(8, "ada"))
        time.sleep(30)
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(begin), str(programs.folder)], check=False)
    assert died.returncode == 9

    def again(request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> int:
        emit(Portrayed(template=0, path="one.png"))
        emit(TemplateFailed(template=1, message="no face"))
        return request.attempt

    queue = programs.start(Work(again))
    assert queue.active("ada") is None, "nobody works on it"
    job, other = queue.list()
    assert (job.state, other.state) == ("running", "queued") and queue.worker() is None
    queue.attend()
    assert (job.wait(60), other.wait(60)) == ({"made": 1}, {"made": 0})
    events = [event for _, event in job.events()]
    assert [type(e) for e in events] == [Portrayed, Notice, TemplateFailed, Finished], "nothing is told twice"
    assert "goes on from there" in str(events[1].message) and (job.cut_off, other.cut_off) == (1, 0)  # type: ignore[attr-defined]


def test_what_was_cut_off_can_be_cancelled_and_forgotten_while_nobody_works(programs: Programs) -> None:
    queue = programs.start()
    queue.pause()
    jobs = [queue.put(order(n, user)) for n, user in enumerate(("ada", "bob"))]
    gone(queue)
    for job in jobs:
        queue.store.begin(job.id, "a program that was killed")
    other = programs.start()
    other.get(jobs[0].id).cancel()
    assert [job.state for job in other.list()] == ["cancelled", "running"]
    assert other.forget("bob") == 1 and [job.subject for job in queue.list()] == ["ada"]


def test_a_job_that_ends_its_program_each_time_is_given_up(programs: Programs) -> None:
    queue = programs.start()
    queue.pause()
    job = queue.put(order())
    gone(queue)
    told = (Notice(message="cut off"), durable.FRUITLESS, Failed(code="internal", message="given up"))
    for _ in range(durable.FRUITLESS):
        assert queue.get(job.id).state in ("queued", "running", "failed")
        queue.store.begin(job.id, "x")
        queue.store.recover(*told)
    assert queue.get(job.id).state == "failed"
    with pytest.raises(EasyPhotoError, match="given up"):
        queue.get(job.id).wait(5)


def test_only_templates_of_what_failed_are_kept(programs: Programs) -> None:
    def fails(*_: Any) -> None:
        raise NoFace("There is no face.")

    queue = programs.start(work := Work(fails))
    training = queue.put(order(1, "ada", kind="train", pictures=(PHOTO,)))
    portrait = queue.put(order(2, "bob", pictures=(b"template",)))
    for job in (training, portrait):
        with pytest.raises(NoFace):
            job.wait(60)
    kept = everything_in(programs.folder)
    assert PHOTO not in kept and b"template" in kept
    work.what = lambda request, *_: request.pictures[0].source.decode()
    queue.retry(portrait.id)
    assert portrait.wait(60) == {"made": "template"}
    assert work.seen[-1].attempt == 1
    with pytest.raises(InvalidRequest, match="can't be retried"):
        queue.retry(portrait.id)
    assert queue.clear() == 2 and queue.list() == [] and not (programs.folder / "pictures").exists()


# --- order -----------------------------------------------------------------------------------------------------------


def test_moving_pausing_and_the_cap(programs: Programs) -> None:
    queue = programs.start(work := Work(), max_waiting=4)
    queue.pause()
    jobs = [queue.put(order(n)) for n in range(4)]
    with pytest.raises(TooBusy, match="4 jobs wait already"):
        queue.put(order(9, pictures=(PHOTO,)))
    other = programs.start(max_waiting=4)
    with pytest.raises(TooBusy):
        other.put(order(9))
    assert PHOTO not in everything_in(programs.folder) and len(queue.list()) == 4
    other.move(jobs[3].id, 0)
    other.move(jobs[0].id, 2)
    assert [job.id for job in queue.waiting()] == [jobs[n].id for n in (3, 1, 0, 2)]
    with pytest.raises(NotFound):
        queue.move("nothing", 0)
    jobs[1].cancel()
    other.resume()
    for n in (0, 2, 3):
        jobs[n].wait(60)
    assert [request.payload["n"] for request in work.seen] == [3, 0, 2]
    with pytest.raises(InvalidRequest, match="doesn't wait"):
        queue.move(jobs[0].id, 0)


def test_waiting_pictures_fill_a_bounded_room(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "MAX_STORED", 2 * len(PHOTO))
    queue = programs.start(Work())
    queue.pause()
    queue.put(order(1, pictures=(PHOTO,)))
    with pytest.raises(TooBusy, match="MB already"):
        queue.put(order(2, pictures=(PHOTO, PHOTO)))
    queue.put(order(3, pictures=(PHOTO,)))


# --- several programs ------------------------------------------------------------------------------------------------


def test_one_program_works_and_the_others_see_it(programs: Programs) -> None:
    gate = threading.Event()
    owner, guest = programs.start(held(gate)), programs.start(Work())
    owner.attend()
    until(lambda: owner.works_here)
    job = guest.put(order(5, "ada"))
    until(lambda: job.state == "running")
    worker = guest.worker()
    assert worker is not None and not guest.works_here
    assert str(worker.pid) in str(worker.sentence()) and worker.host in str(worker.sentence())
    assert any(isinstance(e, Notice) and "works on the queue" in str(e.message) for _, e in job.events(follow=False))
    second = guest.put(order(6, "bob"))
    assert guest.position(second) == 1 == owner.position(owner.get(second.id))
    second.cancel()
    assert owner.get(second.id).state == "cancelled"
    job.cancel()
    with pytest.raises(Cancelled, match="Stopped"):
        job.wait(60)
    third = guest.put(order(7))
    gate.set()
    assert third.wait(60) == {"made": 7}
    assert [type(e) for _, e in third.events()][-1] is Finished


def test_when_the_owner_goes_another_takes_over(programs: Programs) -> None:
    begun, gate = threading.Event(), threading.Event()

    def work(request: DurableRequest, *_: Any) -> Any:
        begun.set()
        gate.wait(60)
        return request.payload["n"]

    owner, heir = programs.start(Work(work)), programs.start(done := Work())
    owner.attend()
    first = owner.put(order(1))
    assert begun.wait(60)
    owner.leave()
    heir.attend()
    second = owner.put(order(2))
    time.sleep(0.5)
    assert not heir.works_here, "what runs is not taken away"
    owner_job = owner.get(second.id)
    owner_job.own = False  # type: ignore[attr-defined]
    gate.set()
    assert first.wait(60) == {"made": 1} and second.wait(60) == {"made": 2}
    assert [request.payload["n"] for request in done.seen] == [2] and heir.works_here


def test_a_program_that_does_not_attend_does_its_own_alone_and_leaves(programs: Programs) -> None:
    other = programs.start()
    other.pause()
    left = other.put(order(1))
    gone(other)
    other.resume()
    guest = programs.start(work := Work())
    assert guest.put(order(2)).wait(60) == {"made": 2}
    until(lambda: guest.worker() is None)
    assert [request.payload["n"] for request in work.seen] == [2] and guest.get(left.id).state == "queued"


# --- lanes -----------------------------------------------------------------------------------------------------------


def test_two_lanes_work_at_once_and_a_training_has_its_person_alone(programs: Programs) -> None:
    lock, at_work, most = threading.Lock(), [], []

    def work(request: DurableRequest, *_: Any) -> None:
        with lock:
            for other in at_work:
                shared = {*other.uses} & {*request.uses}
                assert not shared or (other.kind, request.kind) == ("generate", "generate"), f"{shared} in two lanes"
            at_work.append(request)
            most.append(len(at_work))
        time.sleep(0.05)
        with lock:
            at_work.remove(request)

    queue = programs.start(done := Work(work))
    queue.use([LocalRunner("cpu", queue.kinds), LocalRunner("cpu", queue.kinds)])
    asked = [
        ("train", "ada"),
        ("generate", "ada"),
        ("generate", "ada", "bob"),
        ("train", "bob"),
        ("train", "cid"),
        ("generate", "bob", "cid"),
        ("train", "ada"),
    ]
    queue.pause()
    jobs = [queue.put(order(n, *users, kind=kind)) for n, (kind, *users) in enumerate(asked)]
    queue.resume()
    for job in jobs:
        job.wait(60)
    assert max(most) == 2
    seen = [request.payload["n"] for request in done.seen]
    for before, after in ((0, 1), (0, 2), (2, 3), (3, 5), (4, 5), (1, 6), (2, 6)):
        assert seen.index(before) < seen.index(after), f"{after} came before {before}: {seen}"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_batch_waits_for_nobody_and_keeps_nobody_waiting(programs: Programs) -> None:
    """It asks for a training and for portraits of the person whom it uses, while that person is trained, and ends."""
    go, begun = threading.Event(), threading.Event()
    queue = programs.start(Work(lambda request, emit, cancelled: go.wait(60) if request.subject == "held" else 1))

    def asks(request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> int:
        begun.set()
        asked = [queue.put(Order(kind, "ada", ("ada",))) for kind in ("generate", "train", "generate")]
        return sum(one.wait(60)["made"] for one in asked)

    queue.kinds["batch"] = Work(asks)
    held = queue.put(Order("train", "held", ("ada",)))
    batch = queue.put(Order("batch", "monday", ("ada",)), BATCH)
    assert begun.wait(60) and not held.ended
    go.set()
    assert batch.wait(60)["made"] == 3


def test_a_batch_fails_with_a_sentence_where_nobody_can_do_it(programs: Programs) -> None:
    queue = programs.start(Work())
    with pytest.raises(InvalidRequest, match="This program can't do what the queue holds: batch"):
        queue.put(Order("batch", "monday"), BATCH).wait(60)


@pytest.mark.parametrize("rubbish", [b"no database at all" * 500, b"SQLite format 3\0" + bytes(8192)])
def test_a_damaged_file_is_set_aside(programs: Programs, rubbish: bytes) -> None:
    programs.folder.mkdir()
    (programs.folder / FILE).write_bytes(rubbish)
    queue = programs.start(Work())
    assert queue.list() == []
    assert queue.put(order(1, "ada")).wait(60) == {"made": 1}
    assert queue.notice is not None and "damaged" in queue.notice
    (aside,) = queue.store.damaged()
    assert aside.read_bytes() == rubbish
    queue.forget("anybody")
    assert queue.store.damaged() == [], "nobody can tell whom it holds"


def test_a_file_that_is_damaged_while_it_is_used_loses_nothing_that_is_in_hand(programs: Programs) -> None:
    gate = threading.Event()
    queue = programs.start(held(gate))
    queue.attend()
    running, waiting = queue.put(order(1, "ada")), queue.put(order(2, "bob", pictures=(b"template",)))
    until(lambda: running.state == "running")
    with queue.store._lock:  # the queue's own thread looks into the file at any time
        queue.store._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (programs.folder / FILE).open("r+b") as file:
            file.write(b"\xff" * (programs.folder / FILE).stat().st_size)
        queue.store.close()  # else SQLite goes on with the pages that it remembers
    third = None
    for _ in range(5):
        with contextlib.suppress(StorageFailed):
            third = third or queue.put(order(3))
    gate.set()
    assert running.wait(60) == {"made": 1} and waiting.wait(60) == {"made": 2}
    assert third is not None and third.wait(60) == {"made": 3}


def test_a_full_disk_costs_a_sentence_and_not_the_program(programs: Programs) -> None:
    """In a process that may write files of 300 kB: first the pictures don't fit, then the database doesn't."""
    code = f"""
        import resource, signal, sys, time
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.queue.test_durable import Work, DurableQueue, order, Path
        from easyphoto.errors import StorageFailed
        from easyphoto.events import Notice
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        allow = lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, most))
        queue = DurableQueue(Path(sys.argv[1]))
        def talks(request, emit, cancelled):
            for _ in range(300):
                emit(Notice(message="x" * 3000))
            return request.payload["n"]
        queue.kinds.update(generate=(work := Work()))
        queue.put(order(0)).wait(60)
        allow(300_000)
        try:
            queue.put(order(1, "ada", pictures=(bytes(10**6),)))
        except StorageFailed as error:
            print("pictures:", error)
        assert not list(Path(sys.argv[1]).rglob("*.part")) and not (Path(sys.argv[1]) / "pictures").exists()
        work.what = talks
        print("made:", queue.put(order(2)).wait(60))
        try:
            queue.put(order(3))
        except StorageFailed as error:
            print("database:", error)
        allow(most)
        work.what = None
        print("made:", queue.put(order(4)).wait(60))
        while any(job.behind for job in queue.list()):
            time.sleep(0.02)
        print("listed:", sorted(j.state for j in queue.list()))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(programs.folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("pictures: The pictures of the request can't be kept in the queue")
    assert lines[1] == "made: {'made': 2}", "the job that ran is done all the same"
    assert lines[2].startswith("database: The queue can't be written: ")
    assert lines[3:] == ["made: {'made': 4}", "listed: ['finished', 'finished', 'finished']"]
    told = programs.start(Work())
    assert [job.wait(5) for job in told.list()] == [{"made": n} for n in (0, 2, 4)]
    assert sum(isinstance(e, Notice) for _, e in told.list()[1].events()) == 300, "written when there was room again"


def test_a_person_is_forgotten_with_pictures_events_and_results(programs: Programs) -> None:
    def work(request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Any:
        emit(Notice(message=f"a secret of {request.uses[0]}"))
        return f"a result of {request.uses[0]}"

    queue, other = programs.start(Work(work)), programs.start()
    queue.put(order(1, "Ada Q.")).wait(60)
    queue.put(order(2, "Bob Y.")).wait(60)
    queue.pause()
    waiting = queue.put(order(3, "Ada Q.", kind="train", pictures=(PHOTO,)))
    queue.put(order(4, "Ada Q.", "Bob Y."))
    assert queue.active("Ada Q.") is None, "nobody works on a queue that is paused"
    kept = everything_in(programs.folder)
    assert PHOTO in kept and b"Ada Q." in kept and b"a secret of Ada Q." in kept
    (programs.folder / "pictures" / "left-by-a-kill").mkdir()
    (programs.folder / "pictures" / "left-by-a-kill" / "0").write_bytes(PHOTO)
    assert other.forget("Ada Q.") == 3
    kept = everything_in(programs.folder)
    assert PHOTO not in kept and b"Ada Q." not in kept and b"Bob Y." in kept
    until(lambda: waiting.ended)
    with pytest.raises(Cancelled, match="removed"):
        waiting.wait(5)
    assert [job.subject for job in queue.list()] == ["Bob Y."] == [job.subject for job in other.list()]


def test_functions_wait_in_the_same_line(programs: Programs) -> None:
    gate, done = threading.Event(), []
    queue = programs.start(Work(lambda request, *_: done.append("stored")))

    def first(job: Job[None]) -> None:
        gate.wait(60)
        done.append("function")

    queue.submit("train", "a", first)
    job = queue.put(order(1))
    assert queue.position(job) == 1
    gate.set()
    job.wait(60)
    assert done == ["function", "stored"]


def test_an_event_that_cannot_be_read_keeps_the_numbers(programs: Programs) -> None:
    queue = programs.start(Work())
    job = queue.put(order(1))
    job.wait(60)
    queue.store.append(job.id, [Notice(message="later")])
    with queue.store._writing() as base:
        base.execute("UPDATE events SET line = 'rubbish' WHERE number = 1")
    again = programs.start(Work()).get(job.id)
    assert [(n, type(e)) for n, e in again.events()] == [(1, Event), (2, Notice)]
