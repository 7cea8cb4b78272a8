"""Tests that events come back unchanged from a file, even from one that is still being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.events import (
    Event,
    Failed,
    Finished,
    Fused,
    Progress,
    Validated,
    append,
    ends,
    from_json,
    read_log,
    to_json,
)

EVENTS: list[Event] = [
    Progress(stage="train", step=3, total=9, loss=0.25, seconds_left=12.5),
    Validated(step=3, likeness=0.5, cosine=0.9, embedder="dlib", pictures=("甲.jpg", "b.jpg")),
    Fused(method="greedy", steps=(3, 6)),
    Finished(result={"a": [1, 2]}),
    Failed(code="no_face", message="脸"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.kind)
def test_round_trip(event: Event) -> None:
    assert from_json(to_json(event)) == event
    assert "\n" not in to_json(event)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    append(log, EVENTS)
    whole = log.read_text(encoding="utf-8")
    log.write_text(whole[:-5], encoding="utf-8")
    assert list(read_log(log)) == EVENTS[:-1]
    assert list(read_log(tmp_path / "none")) == []


def test_fields_of_a_later_version_are_dropped_and_other_lines_refused() -> None:
    assert from_json('{"kind": "failed", "code": "x", "message": "y", "at": 1, "new": 2}') == Failed(
        code="x", message="y", at=1
    )
    for line in ("[]", '{"kind": "nonsense"}', '{"a": 1}'):
        with pytest.raises(ValueError, match="not an event"):
            from_json(line)


def test_only_the_last_event_ends_a_stream() -> None:
    assert [ends(e) for e in EVENTS] == [False, False, False, True, True]
