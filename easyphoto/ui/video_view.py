"""A clip as HTML: who is to be seen in it, and how alike the people are who came into it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from html import escape
from itertools import pairwise
from typing import Any

from easyphoto import pictures
from easyphoto.clips.decoding import Clip
from easyphoto.inference.clip_people import ClipPeople
from easyphoto.likeness import cosine_words
from easyphoto.likeness import words as likeness_words
from easyphoto.service import VideoResult
from easyphoto.ui import chart
from easyphoto.ui.chart import Point
from easyphoto.ui.texts import say


def facts(clip: Clip, language: str) -> str:
    """Return a line on what the clip is."""
    about = {"width": clip.width, "height": clip.height, "rate": f"{float(clip.rate):.3g}"}
    words = say("clip facts", language, **about)
    if clip.count:
        words = say("clip length", language, facts=words, n=clip.count)
    return f'<p class="easyphoto-step">{escape(words)}</p>'


def people(seen: ClipPeople, language: str) -> str:
    """Return a thumbnail of each person of a clip, in the order in which user ids are given to them."""
    if not seen.people:
        return f'<p class="easyphoto-note">{escape(say("clip nobody", language, n=seen.frames))}</p>'
    words = say("clip people", language, n=len(seen.people))
    if not seen.whole:
        words += " " + say("clip part", language, n=seen.frames)
    figures = []
    for place, person in enumerate(seen.people, 1):
        source = "data:image/jpeg;base64," + base64.b64encode(pictures.jpg_bytes(person.head)).decode("ascii")
        called = escape(say("clip person", language, place=place, n=person.frames), quote=True)
        figures.append(f'<figure><img src="{source}" alt="{called}"/><figcaption>{called}</figcaption></figure>')
    return f'<p class="easyphoto-step">{escape(words)}</p><div class="easyphoto-grid">{"".join(figures)}</div>'


def likeness(result: VideoResult, language: str) -> str:
    """Return how alike each person is, in words and as a curve over time. The curve is left out if the file beside the
    clip is gone."""
    lines = []
    for person in result.people:
        about = {"likeness": likeness_words(person.score), "n": person.frames, "embedder": person.embedder}
        raw = {"cosine": cosine_words(person.cosine), "deviation": f"{person.deviation:.3f}"}
        lines.append(say("clip likeness", language, name=person.user_id, **about, **raw))
    told = "".join(f'<p class="easyphoto-step">{escape(line)}</p>' for line in lines)
    return f'<div class="easyphoto-panel easyphoto-curve">{told}{_curve(result, language)}</div>' if told else ""


def recipe(result: VideoResult) -> str:
    """Return how the clip was made, one parameter a line, as the file beside it says; nothing if that is gone."""
    try:
        about = dict(json.loads(result.about.read_bytes()))
    except (OSError, ValueError, TypeError):  # somebody may have moved or changed it
        return ""
    about.pop("likeness", None)
    config = about.pop("config", {})
    told = _flat({**about, "config": config})  # what was drawn stands before the many parameters of the passes
    return "\n".join(f"{name}: {value}" for name, value in told.items() if value not in ("", None))


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return all names and values, what lies deeper behind what doesn't; a name counts once."""
    flat: dict[str, Any] = {}
    for name, value in sorted(told.items(), key=lambda item: isinstance(item[1], Mapping)):
        for inner, one in _flat(value).items() if isinstance(value, Mapping) else [(name, value)]:
            flat.setdefault(inner, ", ".join(map(str, one)) if isinstance(one, list) else one)
    return flat


def _curve(result: VideoResult, language: str) -> str:
    try:
        about = json.loads(result.about.read_bytes())
        rate = float(Fraction(about["rate"]))
        rows: dict[str, list[Point]] = {}
        for row in about["likeness"]:
            rows.setdefault(str(row["user_id"]), []).append((row["frame"] / rate, float(row["likeness"]["score"])))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):  # somebody may have moved or changed it
        return ""
    lines = {name: _stretches(points, 1.5 / rate) for name, points in rows.items()}
    labels = (say("likeness", language), say("seconds", language))
    return chart.over_time(lines, max(result.frames - 1, 1) / rate, labels)


def _stretches(points: Sequence[Point], gap: float) -> list[list[Point]]:
    """The points in stretches between which more than ``gap`` seconds lie."""
    found = [[points[0]]]
    for before, now in pairwise(points):
        if now[0] - before[0] > gap:
            found.append([])
        found[-1].append(now)
    return found
