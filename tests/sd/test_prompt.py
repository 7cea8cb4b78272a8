"""Tests of how prompts are read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto.errors import InvalidRequest
from easyphoto.sd.prompt import LoraTag, Span, parse, split_loras

PLAIN = st.text(alphabet=st.characters(blacklist_characters="()[]\\", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda text: "BREAK" not in text
)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", []),
        ("a face", [("a face", 1.0)]),
        ("a (word:1.3) b", [("a ", 1.0), ("word", 1.3), (" b", 1.0)]),
        ("a (word) b", [("a ", 1.0), ("word", 1.1), (" b", 1.0)]),
        ("((word))", [("word", 1.21)]),
        ("[word]", [("word", 1 / 1.1)]),
        ("(a [b])", [("a ", 1.1), ("b", 1.0)]),
        ("(a (b:1.5):2)", [("a ", 2.0), ("b", 3.0)]),
        ("(word: .5 )", [("word", 0.5)]),
        (r"a \(b\) \[c\]", [("a (b) [c]", 1.0)]),
        ("(open to the end", [("open to the end", 1.1)]),
        ("never opened) [x", [("never opened) ", 1.0), ("x", 1 / 1.1)]),
        ("time 12:30, ratio 3:2", [("time 12:30, ratio 3:2", 1.0)]),
        ("(a:b:1.2)", [("a:b", 1.2)]),
    ],
)
def test_weights(prompt: str, expected: list[tuple[str, float]]) -> None:
    got = [(span.text, span.weight) for span in parse(prompt)]
    assert [text for text, _ in got] == [text for text, _ in expected]
    assert all(math.isclose(a[1], b[1]) for a, b in zip(got, expected, strict=True))


def test_break_splits_and_keeps_weights() -> None:
    spans = parse("one BREAK (two BREAK three:1.2)")
    assert [(s.text, s.is_break) for s in spans] == [
        ("one", False),
        ("BREAK", True),
        ("two", False),
        ("BREAK", True),
        ("three", False),
    ]
    assert spans[2].weight == spans[4].weight == 1.2
    assert parse("BREAKFAST") == [Span("BREAKFAST")]


@given(PLAIN)
def test_text_without_brackets_is_itself(text: str) -> None:
    assert parse(text) == [Span(text)]


@given(st.text(alphabet="ab ()[]\\:.1", max_size=30))
def test_every_text_has_a_reading(text: str) -> None:
    spans = parse(text)
    assert all(span.weight > 0 or ":" in text for span in spans)
    assert sum(c in "ab" for c in text) == sum(c in "ab" for span in spans for c in span.text)


@given(PLAIN, st.integers(1, 6), st.integers(0, 6))
def test_brackets_multiply(text: str, up: int, down: int) -> None:
    text = text.replace(":", ";")
    (span,) = parse("(" * up + "[" * down + text + "]" * down + ")" * up)
    assert span.text == text
    assert math.isclose(span.weight, 1.1 ** (up - down))


def test_lora_tags_leave_the_prompt() -> None:
    text, tags = split_loras("a <lora:Film Velvia3:0.65>face<lora:另一个>, <LORA:x:1:0.5>")
    assert text == "a face, "
    assert tags == [LoraTag("Film Velvia3", 0.65), LoraTag("另一个", 1.0), LoraTag("x", 1.0)]


def test_a_lora_tag_without_a_number_says_so() -> None:
    with pytest.raises(InvalidRequest, match="not a number"):
        split_loras("<lora:x:strong>")
