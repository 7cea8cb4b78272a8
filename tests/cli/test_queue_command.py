"""``easyphoto queue``: a second program looks at the queue of the first and orders it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from easyphoto.cli.devices import listed, require
from easyphoto.cli.main import main
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest
from easyphoto.events import Listener, Progress
from easyphoto.queue.durable import DurableQueue
from easyphoto.queue.port import DurableRequest, Order
from tests.waiting import until


class Held:
    """Work that goes on until its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> dict[str, Any]:
        emit(Progress(stage="first", step=3, total=9))
        while not self.gate.wait(0.01):
            assert not cancelled()
        return {}

    def to_data(self, result: dict[str, Any]) -> dict[str, Any]:
        return result

    def from_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return dict(data)


def test_listing_and_ordering(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert main(["queue", *arguments, "--data", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert "Nobody works on the queue" in run("list") and not (tmp_path / "outputs").exists()
    queue = DurableQueue(Paths.standalone(tmp_path).queue)
    queue.kinds["generate"] = held = Held()
    jobs = [queue.put(Order("generate", name, (name,))) for name in ("ada", "bob", "cid")]
    until(lambda: jobs[0].state == "running")
    lines = run("list").splitlines()
    assert lines[0].startswith("Process ") and "works on the queue" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == [job.id for job in jobs]
    assert "runs (first 3 of 9)" in lines[1] and "waits (2 before it)" in lines[3]
    run("move", jobs[2].id)
    assert [line.split()[2] for line in run("list").splitlines()[1:]] == ["ada", "cid", "bob"]
    assert "is cancelled" in run("cancel", jobs[1].id) and queue.get(jobs[1].id).state == "cancelled"
    assert "waits again" in run("retry", jobs[1].id)
    run("pause")
    told = json.loads(run("list", "--json"))
    assert told["paused"] and [job["position"] for job in told["jobs"]] == [0, 2, 1]
    run("resume")
    held.gate.set()
    for job in jobs:
        queue.get(job.id).wait(60)  # which looks first whether another program has retried it
    assert "3 jobs" in run("clear") and json.loads(run("list", "--json"))["jobs"] == []


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in (["move", "x"], ["retry", "x"], ["cancel", "x"]):
        assert main(["queue", *action, "--data", str(tmp_path)]) == 2
        assert "There is no job 'x'." in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["queue", "--data", str(tmp_path)])


def test_devices_are_checked_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed("cuda:0, cuda:1") == ("cuda:0", "cuda:1") and listed("cpu,cpu") == ("cpu", "cpu")
    for wrong in ("gpu", "cuda:0,", "cuda:x"):
        with pytest.raises(SystemExit, match="2"):
            main(["serve", "--devices", wrong, "--data", str(tmp_path)])
        assert "must be devices with commas between them" in capsys.readouterr().err
    with pytest.raises(InvalidRequest, match="one card twice"):
        require(("cuda:0", "cuda:0"))
    with pytest.raises(InvalidRequest, match="cuda:97"):
        require(("cuda:97",))
    require(("cpu", "cpu"))
