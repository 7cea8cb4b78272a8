"""A queue that can't be read says so, once."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from easyphoto.queue.database import FILE
from easyphoto.queue.durable import DurableQueue
from easyphoto.queue.port import Order
from tests.queue.test_durable import gone


def changed(folder: Path, statement: str) -> None:
    base = sqlite3.connect(folder / FILE)
    base.execute(statement)
    base.commit()
    base.close()


def test_the_queue_of_a_newer_version_is_told_once_and_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = DurableQueue(tmp_path)
    first.pause()
    job = first.put(Order("generate", "ada"))
    gone(first)
    changed(tmp_path, "PRAGMA user_version = 99")
    queue = DurableQueue(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [len(queue.list()) for _ in range(20)] == [0] * 20
    assert len(caplog.records) == 1
    assert queue.notice is not None and "newer EasyPhoto" in queue.notice
    changed(tmp_path, "PRAGMA user_version = 1")
    assert [one.id for one in queue.list()] == [job.id]


def test_a_row_that_is_none_is_damage(tmp_path: Path) -> None:
    first = DurableQueue(tmp_path)
    first.pause()
    first.put(Order("generate", "ada"))
    gone(first)
    changed(tmp_path, "UPDATE jobs SET payload = '{broken'")
    queue = DurableQueue(tmp_path)
    assert queue.list() == [] and queue.notice is not None and "damaged" in queue.notice
    assert queue.store.damaged(), "it is set aside, and goes when somebody is deleted"
    queue.pause()
    assert queue.put(Order("generate", "eve")).id in {job.id for job in queue.list()}
