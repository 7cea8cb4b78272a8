"""Tests of messages: English that can be said in another language and that survives copies, pickles and JSON."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto import errors, events
from easyphoto.errors import EasyPhotoError, InvalidRequest, NotFound
from easyphoto.events import Failed, Notice
from easyphoto.messages import Joined, Message, from_data, joined, languages, to_data, translated


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "{a} before {b:.1f}": "{b:.1f} 在 {a} 后",
        "no face": "没有人脸",
        "; ": "；",
        "It broke: {why}": "出错：{why}",
    }
    monkeypatch.setattr(languages, "catalog", lambda language: known if language == "zh" else {})


def test_a_message_is_its_english() -> None:
    said = Message("{a} before {b:.1f}", a=Path("x/y"), b=2)
    assert said == "x/y before 2.0" and isinstance(said, str)
    assert Message("braces {stay} without values") == "braces {stay} without values"


@pytest.mark.usefixtures("chinese")
def test_it_is_said_again_with_its_values_even_one_in_another() -> None:
    said = Message("It broke: {why}", why=Message("{a} before {b:.1f}", a="x {b} y", b=3))
    assert translated(said, "zh") == "出错：3.0 在 x {b} y 后"
    assert translated(said, "en") == "It broke: x {b} y before 3.0"
    assert translated(joined([Message("no face"), "a.jpg"], "; "), "zh") == "没有人脸；a.jpg"
    assert translated("Nobody wrote this down.", "zh") == "Nobody wrote this down."


@pytest.mark.usefixtures("chinese")
def test_an_error_keeps_its_message_and_a_name_like_a_sentence_is_no_sentence() -> None:
    inner = InvalidRequest("no face")
    outer = NotFound("It broke: {why}", why=inner)
    assert str(outer) == "It broke: no face" and translated(outer.message, "zh") == "出错：没有人脸"
    assert translated(NotFound("It broke: {why}", why="no face").message, "zh") == "出错：no face"


@pytest.mark.thorough
@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=6), st.floats(allow_nan=False))
def test_any_message_survives_json_copies_and_pickles(texts: object, number: float) -> None:
    parts = [str(texts), Message("{x} {y}", x=Message(str(texts)), y=number)]
    for said in (parts[1], joined(parts, "; ")):
        assert isinstance(said, Message)
        for again in (
            from_data(json.loads(json.dumps(to_data(said)))),
            copy.deepcopy(said),
            pickle.loads(pickle.dumps(said)),
        ):
            assert again == said and to_data(again) == to_data(said)
            assert isinstance(again, Joined) == isinstance(said, Joined)


def test_events_carry_messages_through_their_log_and_stay_english_for_others() -> None:
    event = Notice(message=Message("{a} before {b:.1f}", a="x", b=1))
    line = events.to_json(event)
    assert json.loads(line)["message"] == "x before 1.0"
    again = events.from_json(line)
    assert again == event and isinstance(again, Notice) and isinstance(again.message, Message)
    plain = events.from_json(json.dumps({"kind": "failed", "code": "x", "message": "old"}))
    assert isinstance(plain, Failed) and plain.message == "old"


def test_kinds_are_found_by_their_code() -> None:
    assert errors.of("no_face") is errors.NoFace
    assert errors.of("nothing like it") is EasyPhotoError
    assert errors.of("nothing like it", NotFound) is NotFound


def test_a_tag_or_a_name_finds_a_language_of_the_program() -> None:
    assert [languages.spoken(tag) for tag in ("zh", "zh-CN", "zh_TW", "EN-us", "de", "zhuang", "")] == [
        *("zh", "zh", "zh"),
        *("en", "en", "en", "en"),
    ]
    named = [languages.named_in(name) for name in ("zh_CN", "zh-Hans (Stable)", "chinese-zhTW", "None", "de_DE", "")]
    assert named == ["zh", "zh", "zh", "", "", ""]
