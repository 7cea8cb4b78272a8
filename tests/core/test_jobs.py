"""One thing at a time, in order, watched by anybody, stopped by a word."""

from __future__ import annotations

import threading
import time

import pytest

from easyphoto.errors import Cancelled, EasyPhotoError, NoFace, NotFound
from easyphoto.events import Event, Failed, Finished, Progress, Queued
from easyphoto.jobs import Job, JobQueue


def test_jobs_never_overlap_and_keep_their_order() -> None:
    queue, running, order = JobQueue(), threading.Semaphore(1), []

    def work(job: Job[str]) -> str:
        assert running.acquire(blocking=False), "two jobs at once"
        time.sleep(0.01)
        order.append(job.subject)
        running.release()
        return job.subject

    jobs = [queue.submit("train", str(i), work) for i in range(5)]
    assert [job.wait(10) for job in jobs] == ["0", "1", "2", "3", "4"] == order


def test_a_waiting_job_shows_its_place() -> None:
    queue, gate = JobQueue(), threading.Event()
    first = queue.submit("train", "a", lambda _: gate.wait(10))
    while first.state != "running":
        time.sleep(0.005)
    second, third = (queue.submit("train", x, lambda _: None) for x in "bc")
    assert (queue.position(first), queue.position(second), queue.position(third)) == (0, 1, 2)
    gate.set()
    third.wait(10)
    assert next(e.position for _, e in third.events() if isinstance(e, Queued)) == 2
    assert queue.position(third) == 0


def test_every_follower_sees_everything_and_late_ones_too() -> None:
    queue, gate = JobQueue(), threading.Event()

    def work(job: Job[int]) -> int:
        for i in range(3):
            job.emit(Progress(stage="train", step=i, total=3))
        gate.wait(10)
        job.emit(Finished())
        return 7

    job = queue.submit("train", "a", work)
    seen: list[Event] = []
    follower = threading.Thread(target=lambda: seen.extend(e for _, e in job.events()))
    follower.start()
    gate.set()
    assert job.wait(10) == 7
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
        job.wait(10)
    assert [(e.code, e.message) for _, e in job.events() if isinstance(e, Failed)] == [("no_face", "There is no face.")]
    bug = queue.submit("generate", "a", breaks)
    with pytest.raises(EasyPhotoError, match="ZeroDivisionError: oops"):
        bug.wait(10)
    assert queue.submit("generate", "a", lambda _: 1).wait(10) == 1, "the queue outlives a bug"


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
    started.wait(10)
    first.cancel()
    for job in (first, second):
        with pytest.raises(Cancelled):
            job.wait(10)
        assert job.state == "cancelled"
    with pytest.raises(NotFound):
        queue.get("nothing")
