"""The order of what waits is the one that was asked for, however often it was changed."""

from __future__ import annotations

from pathlib import Path

from easyphoto.queue.durable import DurableQueue
from easyphoto.queue.port import Order


def test_a_job_goes_to_its_place_however_often_two_change_places(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path)
    queue.pause()
    jobs = [queue.put(Order("generate", f"{i}")).id for i in range(4)]
    for i in range(80):
        moved = jobs[1 + i % 2]
        queue.move(moved, 1)
        now = [job.id for job in queue.waiting()]
        assert now.index(moved) == 1 and (now[0], now[3]) == (jobs[0], jobs[3]), i
    last = queue.put(Order("generate", "last")).id
    assert [job.id for job in DurableQueue(tmp_path).waiting()] == [*now, last]
