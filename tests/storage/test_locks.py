"""Locks, also on a file system that has none."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from easyphoto.batch.one_at_a_time import one_at_a_time
from easyphoto.errors import StorageFailed
from easyphoto.queue.owner import Ownership
from easyphoto.queue.spool import Spool
from easyphoto.storage import locks, scratch
from easyphoto.storage.folders import JobFolder


@pytest.fixture(params=[NotImplementedError("flock is not supported"), OSError(errno.ENOLCK, "No locks available")])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What filelock says on a file system without locks: one of two things, by its version."""

    def acquire(self: FileLock, *arguments: Any, **more: Any) -> None:
        raise request.param

    monkeypatch.setattr(FileLock, "acquire", acquire)


def test_somebody_who_holds_a_lock_is_seen(tmp_path: Path) -> None:
    lock = tmp_path / "one.lock"
    assert locks.is_held(lock) is False
    with locks.holding(lock):
        assert locks.is_held(lock) is True
    assert locks.is_held(lock) is False


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_training_and_a_request_are_refused_in_one_sentence(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "ann" / "job")
    with pytest.raises(StorageFailed, match="ann/job can't be written"), locks.alone(job, "ann"):
        pass
    with pytest.raises(StorageFailed, match="A folder could not be made"):
        scratch.Scratch(tmp_path, "stage-")
    with pytest.raises(StorageFailed, match="can't be kept in the queue"), Spool(tmp_path).alone():
        pass


@pytest.mark.usefixtures("without_locks")
def test_without_locks_nobody_is_taken_for_gone_and_the_queue_is_worked_on(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "job")
    job.path.mkdir()
    job.parent_lock.touch()
    assert locks.is_held(job.parent_lock) is None and not locks.busy(job)
    (tmp_path / "stage-0").mkdir()
    assert scratch.abandoned(tmp_path, "stage-") == [] and scratch.living(tmp_path, "stage-")
    assert Ownership(tmp_path).claim()
    with one_at_a_time(tmp_path / "batch"):
        pass
