"""Tests of the queue: one job runs at a time, in order; anybody can watch it, and one call stops it."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from easyphoto import jobs
from easyphoto.errors import Cancelled, EasyPhotoError, NoFace, NotFound, TooBusy
from easyphoto.events import Event, Failed, Finished, Portrayed, Preview, Progress, Queued, wants_previews
from easyphoto.jobs import NETWORK, Job, JobQueue
from tests.waiting import until


def test_jobs_never_overlap_and_keep_their_order() -> None:
    queue, running, order = JobQueue(), threading.Semaphore(1), []

    def work(job: Job[str]) -> str:
        assert running.acquire(blocking=False), "two jobs at once"
        time.sleep(0.01)
        order.append(job.subject)
        running.release()
        return job.subject

    jobs = [queue.submit("train", str(i), work) for i in range(5)]
    assert [job.wait(60) for job in jobs] == ["0", "1", "2", "3", "4"] == order


def test_a_waiting_job_shows_its_place() -> None:
    queue, gate = JobQueue(), threading.Event()
    first = queue.submit("train", "a", lambda _: gate.wait(60))
    until(lambda: first.state == "running")
    second, third = (queue.submit("train", x, lambda _: None) for x in "bc")
    assert (queue.position(first), queue.position(second), queue.position(third)) == (0, 1, 2)
    gate.set()
    third.wait(60)
    assert next(e.position for _, e in third.events() if isinstance(e, Queued)) == 2
    assert queue.position(third) == 0


def test_every_follower_sees_everything_and_late_ones_too() -> None:
    queue, gate = JobQueue(), threading.Event()

    def work(job: Job[int]) -> int:
        for i in range(3):
            job.emit(Progress(stage="train", step=i, total=3))
        gate.wait(60)
        job.emit(Finished())
        return 7

    job = queue.submit("train", "a", work)
    seen: list[Event] = []
    follower = threading.Thread(target=lambda: seen.extend(e for _, e in job.events()))
    follower.start()
    gate.set()
    assert job.wait(60) == 7
    follower.join(10)
    assert seen == [e for _, e in job.events()] and isinstance(seen[-1], Finished)
    assert [n for n, _ in job.events(after=2)] == [3, 4]


def test_errors_reach_the_waiting_and_the_watching() -> None:
    queue = JobQueue()

    def fails(job: Job[None]) -> None:
        raise NoFace("There is no face.")

    def breaks(job: Job[None]) -> None:
        raise ZeroDivisionError("oops")

    job = queue.submit("generate", "a", fails)
    with pytest.raises(NoFace):
        job.wait(60)
    assert [(e.code, e.message) for _, e in job.events() if isinstance(e, Failed)] == [("no_face", "There is no face.")]
    bug = queue.submit("generate", "a", breaks)
    with pytest.raises(EasyPhotoError, match="ZeroDivisionError: oops"):
        bug.wait(60)
    assert queue.submit("generate", "a", lambda _: 1).wait(60) == 1, "the queue outlives a bug"


def test_cancelling_before_and_while_running() -> None:
    queue, started = JobQueue(), threading.Event()

    def work(job: Job[None]) -> None:
        started.set()
        while not job.cancelled():
            time.sleep(0.005)
        raise Cancelled("Stopped.")

    first = queue.submit("train", "a", work)
    second = queue.submit("train", "b", lambda _: None)
    second.cancel()
    started.wait(60)
    first.cancel()
    for job in (first, second):
        with pytest.raises(Cancelled):
            job.wait(60)
        assert job.state == "cancelled"
    with pytest.raises(NotFound):
        queue.get("nothing")


def test_a_waiting_job_that_is_cancelled_is_gone_at_once() -> None:
    queue, gate = JobQueue(), threading.Event()
    first = queue.submit("train", "a", lambda _: gate.wait(60))
    second, third = (queue.submit("train", x, lambda _: None) for x in "bc")
    second.cancel()
    second.cancel()
    assert (second.state, second.ended) == ("cancelled", True), "while the first still runs"
    assert (queue.position(second), queue.position(third)) == (0, 1)
    assert [e.position for _, e in third.events(follow=False) if isinstance(e, Queued)][-1] == 1
    assert [type(e) for _, e in second.events()][-1] is Failed
    with pytest.raises(Cancelled):
        second.wait(0)
    gate.set()
    third.wait(60)
    assert [type(e) for _, e in second.events()].count(Failed) == 1
    first.cancel()
    assert first.state == "finished", "nothing is left to cancel"


def test_too_many_jobs_wait() -> None:
    queue, gate = JobQueue(max_waiting=2), threading.Event()
    first = queue.submit("train", "a", lambda _: gate.wait(60))
    until(lambda: first.state == "running")
    waiting = [queue.submit("train", x, lambda _: None) for x in "bc"]
    with pytest.raises(TooBusy, match="2 jobs wait already"):
        queue.submit("train", "d", lambda _: None)
    queue.submit("models", "weights", lambda _: None, NETWORK).wait(60)
    waiting[0].cancel()
    last = queue.submit("train", "e", lambda _: None)
    gate.set()
    last.wait(60)
    assert len(queue.list()) == 5, "what was refused is not remembered"


def test_waiting_requests_hold_a_bounded_number_of_bytes() -> None:
    queue, gate = JobQueue(max_held=100), threading.Event()
    first = queue.submit("generate", "a", lambda _: gate.wait(60), holds=150)
    with pytest.raises(TooBusy, match="MB"):
        queue.submit("generate", "b", lambda _: None, holds=1)
    gate.set()
    first.wait(60)
    queue.submit("generate", "b", lambda _: None, holds=100).wait(60)


class _Pixels:
    """Something large that can be watched."""


@pytest.mark.parametrize("error", [None, NoFace("No face."), ZeroDivisionError("oops")])
def test_an_ended_job_keeps_nothing_of_its_request(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyphoto.jobs._log.exception", lambda *_: None)  # pytest keeps what is logged
    queue = JobQueue()
    pixels = _Pixels()
    watched = weakref.ref(pixels)

    def work(job: Job[None], held: _Pixels) -> None:
        if error is not None:
            raise error from ValueError(held)

    job = queue.submit("generate", "a", lambda job, held=pixels: work(job, held))  # type: ignore[misc]
    waited: list[EasyPhotoError] = []
    for _ in range(2):
        try:
            job.wait(60)
        except EasyPhotoError as failed:
            waited.append(failed.with_traceback(None))
    if error is not None:
        error.__traceback__ = error.__cause__ = None
    del pixels
    queue.submit("generate", "b", lambda _: None).wait(60)
    gc.collect()
    assert watched() is None
    assert len(waited) == (0 if error is None else 2)


def test_a_job_cancelled_in_the_line_keeps_nothing_either() -> None:
    queue, gate = JobQueue(), threading.Event()
    queue.submit("generate", "a", lambda _: gate.wait(60))
    pixels = _Pixels()
    watched = weakref.ref(pixels)
    job = queue.submit("generate", "b", lambda _, held=pixels: None)  # type: ignore[misc]
    del pixels
    job.cancel()
    gc.collect()
    assert watched() is None
    gate.set()


def test_a_preview_is_shown_to_who_looks_and_kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    job: Job[None] = Job("generate", "ada", lambda _: None)
    assert not wants_previews(job.listener), "nobody has looked"
    assert job.look() is None
    assert wants_previews(job.listener)
    first, second = Preview(jpeg="first"), Preview(jpeg="second")
    job.listener(first)
    job.listener(second)
    assert job.look() is second
    assert list(job.events(follow=False)) == []
    job.listener(Portrayed(path="a.png"))
    assert job.look() is None, "what is done has a picture of its own"
    job.listener(second)
    job.run()
    assert job.look() is None, "an ended job keeps no picture"
    monkeypatch.setattr(jobs, "LOOKING", 0.0)
    assert not wants_previews(job.listener), "who looked once and left"
    assert not wants_previews(print)
