"""Prompts as a WebUI reads them, with attention weights and LoRA tags. This is text alone; no model is used.

``(word)`` raises attention 1.1 times, ``((word))`` 1.21 times, ``(word:1.3)`` sets it, and ``[word]`` lowers it 1.1
times. Behind a backslash a bracket is an ordinary character. ``BREAK`` begins a new chunk of 75 tokens.
``<lora:name:0.8>`` names a LoRA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from easyphoto.errors import InvalidRequest

STEP = 1.1
"""The factor by which one pair of round brackets multiplies attention; square brackets divide by it."""

BREAK = "BREAK"

_TOKEN = re.compile(r"\\[()\[\]\\]|\\|\(|\)|\[|\]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[^\\()\[\]:]+|:", re.DOTALL)
_LORA = re.compile(r"<lora:([^:<>]+)(?::([^<>]*))?>", re.IGNORECASE)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True)
class Span:
    """A piece of a prompt and the weight of its attention. If ``is_break`` is true, ``text`` is :data:`BREAK`."""

    text: str
    weight: float = 1.0
    is_break: bool = False


@dataclass(frozen=True)
class LoraTag:
    name: str
    weight: float


def parse(prompt: str) -> list[Span]:
    """Return the spans of a prompt in order; neighbours of equal weight are joined. Every prompt can be read: a bracket
    that is never closed counts to the end, and one that was never opened is an ordinary character."""
    pieces: list[list[str | float]] = []
    opened: list[tuple[str, int]] = []
    for token in _TOKEN.finditer(prompt):
        text = token.group(0)
        if text in ("(", "["):
            opened.append((text, len(pieces)))
        elif token.group(1) is not None and opened and opened[-1][0] == "(":
            _multiply(pieces, opened.pop()[1], float(token.group(1)))
        elif text == ")" and opened and opened[-1][0] == "(":
            _multiply(pieces, opened.pop()[1], STEP)
        elif text == "]" and opened and opened[-1][0] == "[":
            _multiply(pieces, opened.pop()[1], 1 / STEP)
        else:
            pieces.append([text[1:] if text.startswith("\\") and len(text) > 1 else text, 1.0])
    for bracket, start in opened:
        _multiply(pieces, start, STEP if bracket == "(" else 1 / STEP)
    return _join(pieces)


def split_loras(prompt: str) -> tuple[str, list[LoraTag]]:
    """Return the prompt without its ``<lora:...>`` tags, and the tags in order.

    A weight that is left out is 1. Where a tag has several (for text encoder and UNet), the first one counts for both.
    """
    tags = []
    for found in _LORA.finditer(prompt):
        weight = (found.group(2) or "1").split(":")[0].strip()
        try:
            tags.append(LoraTag(found.group(1).strip(), float(weight)))
        except ValueError:
            raise InvalidRequest("The weight of the LoRA tag {group} is not a number.", group=found.group(0)) from None
    return _LORA.sub("", prompt), tags


def _multiply(pieces: list[list[str | float]], start: int, factor: float) -> None:
    for piece in pieces[start:]:
        piece[1] = float(piece[1]) * factor


def _join(pieces: list[list[str | float]]) -> list[Span]:
    spans: list[Span] = []
    for text, weight in pieces:
        if spans and spans[-1].weight == weight:
            spans[-1] = Span(spans[-1].text + str(text), float(weight))
        else:
            spans.append(Span(str(text), float(weight)))
    return [piece for span in spans for piece in _breaks(span)]


def _breaks(span: Span) -> list[Span]:
    parts = _BREAK.split(span.text)
    spans: list[Span] = []
    for index, part in enumerate(parts):
        if index:
            spans.append(Span(BREAK, is_break=True))
        if part:
            spans.append(Span(part, span.weight))
    return spans
