"""What an earlier training that ended badly leaves behind, and what the next makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto import events
from easyphoto.errors import InvalidRequest
from easyphoto.events import Failed, Progress
from easyphoto.training import job, state


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
def test_a_state_that_cant_be_read_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / state.STATE).write_bytes(content)
    with pytest.raises(InvalidRequest, match="without resume"):
        state.load_state(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"step": 1}]', "7"])
def test_scores_that_cant_be_read_are_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / state.SCORES).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequest, match="without resume"):
        state.load_scores(tmp_path)


def test_an_event_that_a_full_disk_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    """Half a line stays in the log when the disk fills; what is written once there is room again follows on it."""
    log = tmp_path / "events.jsonl"
    whole = events.to_json(Progress(stage="train", step=1, total=2))
    log.write_text(whole + "\n" + whole[:25], encoding="utf-8")
    tail = job._tail(log)
    assert [type(e) for e in next(tail)] == [Progress]
    events.append(log, [Failed(code="storage_failed", message="The disk is full.")])
    (last,) = next(tail)
    assert isinstance(last, Failed) and last.message == "The disk is full."
    with log.open("a", encoding="utf-8") as file:
        file.write("nonsense\n" + whole + "\n")
    assert [type(e) for e in next(tail)] == [Progress]
