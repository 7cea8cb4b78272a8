"""Tests of what a browser says that it remembers: none of it is trusted to be more than a name."""

from __future__ import annotations

import json

import pytest

from easyphoto.ui.kept import LONGEST, Kept

PAGE = "0123456789abcdef" * 2


def test_what_the_page_kept_is_read() -> None:
    kept = Kept.read(json.dumps({"page": PAGE, "jobs": {"train": "abc123", "generate": ""}, "user_id": "小美"}))
    assert (kept.page, dict(kept.jobs), kept.user_id) == (PAGE, {"train": "abc123", "generate": ""}, "小美")


@pytest.mark.parametrize(
    "told",
    [
        "",
        None,
        7,
        "[]",
        "no json",
        "[" * LONGEST,
        json.dumps({"page": "../../etc", "jobs": ["x"], "user_id": 5}),
        json.dumps({"page": PAGE[:-1] + "G", "jobs": {"train": "../x", "other": "ab", "generate": 3}}),
        json.dumps({"page": PAGE + " " * LONGEST}),
    ],
)
def test_what_cannot_be_true_is_left_out(told: object) -> None:
    kept = Kept.read(told)
    assert kept.page != PAGE and len(kept.page) == 32 and not kept.jobs and kept.user_id == ""


def test_a_page_without_a_name_gets_one_that_nobody_can_guess() -> None:
    assert len({Kept.read("{}").page for _ in range(20)}) == 20
