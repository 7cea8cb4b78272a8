"""Tests of names that every file system accepts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto import filenames

ANY = st.text(st.characters(), max_size=120)


@given(ANY, st.integers(8, 143))
def test_any_text_becomes_a_name_within_its_bytes(text: str, limit: int) -> None:
    name = filenames.safe(text, limit)
    assert 0 < len(name.encode()) <= limit
    assert not set(name) & filenames.FORBIDDEN and not name.startswith(".") and not name.endswith((".", " "))
    assert all(unicodedata.category(c) not in ("Cc", "Cs") for c in name)
    assert name.split(".")[0].rstrip().casefold() not in filenames.RESERVED
    assert filenames.safe(name, limit) == name


@pytest.mark.parametrize("word", ["CON", "nul.txt", "Lpt1", "com\u00b9", "aux ", "CONIN$"])
def test_what_windows_keeps_for_itself_gets_something_in_front(word: str) -> None:
    assert filenames.safe(word).startswith("_")


def test_a_name_is_cut_between_whole_characters() -> None:
    assert filenames.cut("小明小明", 7) == "小明"
    assert filenames.cut("ae\u0301", 3) == "a"
    assert filenames.cut("a\U0001f469\u200d\U0001f680", 8) == "a"
    assert filenames.cut("a\U0001f44d\U0001f3fd", 6) == "a"
    assert filenames.safe("\ud800\x00") == "__"
    assert filenames.safe(" .. ") == "file"


def test_what_is_no_text_is_shown_as_such() -> None:
    assert filenames.shown("a\udcff\n小") == "a\ufffd\ufffd小"
