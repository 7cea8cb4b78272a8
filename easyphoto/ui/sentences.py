"""The program's sentences in Chinese.

Errors and notices are made in English where they arise, cross processes and log files as text, and stay English in
the API and in the terminal. Here, at the edge, a sentence is recognised by its template and said again:
``sentences_zh.json`` holds English template -> Chinese, with ``{1}``, ``{2}`` ... for what was put in, in the order of
the English. A sentence that is put into another is translated too; what isn't known stays as it is.

Some of what is put in was chosen by whoever asks, so every text costs little, whatever stands in it: the fixed pieces
of a template are looked for one after the other, each once, and the work on one text is bounded.
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
LONGEST = 2000
"""A text of more characters stays as it is."""
WORK = 11_000
"""How much is done for one text: each look at a part of it costs its characters and ``A_LOOK``."""
A_LOOK = 20
_PLACE = re.compile(r"\{(\d+)\}")
_CUT = "_"
"""Stands for a place among whole words: what is put in may go on with the word."""
_WHOLE_WORD = re.compile(r"\w+")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?]) (?=\S)")
_JOINTS: Mapping[str, str] = MappingProxyType({"; ": "；", " and ": "和", ", ": "、"})


@dataclass(frozen=True)
class _Template:
    fixed: tuple[str, ...]
    """What stands before, between and after the places."""
    places: tuple[str, ...]
    chinese: str
    weight: int
    """How many characters of it are fixed: of two templates that fit, the one that says more of the sentence."""
    word: str
    """The longest whole word of the fixed pieces: without it, a text isn't this sentence. Empty when there is none."""

    @classmethod
    def of(cls, english: str, chinese: str) -> _Template:
        parts = _PLACE.split(english)
        fixed = tuple(parts[::2])
        whole = [word for word in _WHOLE_WORD.findall(f" {_CUT.join(fixed)} ") if _CUT not in word]
        return cls(fixed, tuple(parts[1::2]), chinese, sum(map(len, fixed)), max(whole, key=len, default=""))

    def read(self, text: str) -> dict[str, str] | None:
        """What stands in the places of ``text``, each as short as it can be; None when it is another sentence.

        A piece that is taken where it is first found leaves the most for those after it, so nothing is tried twice.
        """
        first, *between = self.fixed
        if not text.startswith(first):
            return None
        if not between:
            return {} if text == first else None
        last, position = between.pop(), len(first)
        end = len(text) - len(last)
        values = []
        for piece in between:
            found = text.find(piece, position, end)
            if found < 0:
                return None
            values.append(text[position:found])
            position = found + len(piece)
        if position > end or not text.endswith(last):
            return None
        values.append(text[position:end])
        return dict(zip(self.places, values, strict=True))

    def say(self, values: Mapping[str, str]) -> str:
        return _PLACE.sub(lambda place: values[place[1]], self.chinese)


def read() -> dict[str, str]:
    """English template -> Chinese."""
    found: dict[str, str] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def told(sentence: str, language: str) -> str:
    """``sentence`` in ``language`` (``"zh"``, or anything else for English). A very long one stays as it is, and so
    do the parts of one that is put together of very many."""
    if language != "zh" or not sentence or len(sentence) > LONGEST:
        return sentence
    return _Speaker().chinese(sentence, DEEPEST)


@lru_cache(maxsize=1)
def _templates() -> Mapping[str, tuple[_Template, ...]]:
    """The templates by their word."""
    found: dict[str, tuple[_Template, ...]] = {}
    for english, chinese in read().items():
        template = _Template.of(english, chinese)
        found[template.word] = (*found.get(template.word, ()), template)
    return MappingProxyType(found)


def _candidates(text: str) -> list[_Template]:
    """The templates whose word is in ``text``, those that say most of a sentence first."""
    templates, words = _templates(), {"", *_WHOLE_WORD.findall(text)}
    found = [t for word in words for t in templates.get(word, ()) if t.weight <= len(text)]
    return sorted(found, key=lambda t: (-t.weight, t.fixed))


class _Speaker:
    """Says one text, with a bound on the work that it may cost."""

    def __init__(self) -> None:
        self._left = WORK
        self._said: dict[tuple[str, int], str] = {}

    def chinese(self, text: str, depth: int) -> str:
        if depth == 0 or not text.strip():
            return text
        key = (text, depth)
        if key not in self._said:
            self._said[key] = self._chinese(text, depth)
        return self._said[key]

    def _chinese(self, text: str, depth: int) -> str:
        pieces = _BETWEEN_SENTENCES.split(text)
        if len(pieces) > 1:
            said = self._one_after_another(pieces, depth)
            if said is not None:
                return said
        known = self._known(text, depth)
        return self._listed(text, depth) if known is None else known

    def _one_after_another(self, pieces: list[str], depth: int) -> str | None:
        """Sentences that follow one another; None when one of them isn't known."""
        said = []
        for piece in pieces:
            known = self._known(piece, depth)
            if known is None:
                return None
            said.append(known)
        return "".join(said)

    def _known(self, text: str, depth: int) -> str | None:
        self._left -= len(text) + A_LOOK
        if self._left < 0:
            return None
        for template in _candidates(text):
            values = template.read(text)
            if values is not None:
                return template.say({place: self.chinese(value, depth - 1) for place, value in values.items()})
        return None

    def _listed(self, text: str, depth: int) -> str:
        """A list of things, some of which may be known."""
        for joint, chinese in _JOINTS.items():
            parts = text.split(joint)
            if len(parts) == 1 or self._left < 0:
                continue
            said = [self.chinese(part, depth - 1) for part in parts]
            if said != parts:
                return chinese.join(said)
        return text
