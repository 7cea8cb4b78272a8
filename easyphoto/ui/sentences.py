"""The program's sentences in Chinese.

Errors and notices are made in English where they arise, cross processes and log files as text, and stay English in
the API and in the terminal. Here, at the edge, a sentence is recognised by its template and said again:
``sentences_zh.json`` holds English template -> Chinese, with ``{1}``, ``{2}`` ... for what was put in, in the order of
the English. A sentence that is put into another is translated too; what isn't known stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

DATA = Path(__file__).with_name("sentences_zh.json")
DEEPEST = 4
"""How many sentences may stand one in another."""
_PLACE = re.compile(r"\{(\d+)\}")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?]) (?=\S)")
_JOINTS: Mapping[str, str] = MappingProxyType({"; ": "；", " and ": "和", ", ": "、"})


@dataclass(frozen=True)
class _Template:
    pattern: re.Pattern[str]
    chinese: str
    weight: int
    """How many characters of it are fixed: of two templates that fit, the one that says more of the sentence."""

    @classmethod
    def of(cls, english: str, chinese: str) -> _Template:
        parts = _PLACE.split(english)
        fixed, places = parts[::2], parts[1::2]
        pattern = re.escape(fixed[0]) + "".join(
            f"(?P<p{n}>.*?){re.escape(text)}" for n, text in zip(places, fixed[1:], strict=True)
        )
        return cls(re.compile(pattern, re.DOTALL), chinese, sum(map(len, fixed)))

    def say(self, values: Mapping[str, str]) -> str:
        return _PLACE.sub(lambda place: values[f"p{place[1]}"], self.chinese)


def read() -> dict[str, str]:
    """English template -> Chinese."""
    found: dict[str, str] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def told(sentence: str, language: str) -> str:
    """``sentence`` in ``language`` (``"zh"``, or anything else for English)."""
    return _chinese(sentence, DEEPEST) if language == "zh" and sentence else sentence


@lru_cache(maxsize=1)
def _templates() -> tuple[_Template, ...]:
    made = [_Template.of(english, chinese) for english, chinese in read().items()]
    return tuple(sorted(made, key=lambda t: -t.weight))


def _chinese(text: str, depth: int) -> str:
    if depth == 0 or not text.strip():
        return text
    pieces = _BETWEEN_SENTENCES.split(text)
    if len(pieces) > 1:
        said = [_known(piece, depth) for piece in pieces]
        if None not in said:
            return "".join(piece for piece in said if piece)
    known = _known(text, depth)
    return _listed(text, depth) if known is None else known


def _known(text: str, depth: int) -> str | None:
    for template in _templates():
        found = template.pattern.fullmatch(text)
        if found:
            return template.say({name: _chinese(part, depth - 1) for name, part in found.groupdict().items()})
    return None


def _listed(text: str, depth: int) -> str:
    """A list of things, some of which may be known."""
    for joint, chinese in _JOINTS.items():
        parts = text.split(joint)
        said = [_chinese(part, depth - 1) for part in parts]
        if len(parts) > 1 and said != parts:
            return chinese.join(said)
    return text
