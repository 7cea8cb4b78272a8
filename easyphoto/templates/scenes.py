"""Presets of what a picture from text shows: a title to choose by, and the prompt that it stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from easyphoto.errors import NotFound

DATA = Path(__file__).with_name("scenes.json")


@dataclass(frozen=True)
class ScenePreset:
    """A scene. ``prompt`` is in English, as the models are."""

    name: str
    title: str
    title_zh: str
    prompt: str


@lru_cache(maxsize=1)
def known() -> tuple[ScenePreset, ...]:
    """All scenes, in the order in which the user sees them."""
    return tuple(ScenePreset(**row) for row in json.loads(DATA.read_text(encoding="utf-8")))


def prompt(name: str, own: str = "") -> str:
    """Return the prompt of the scene of that name, with what the user wrote before it. Raises :class:`NotFound` when
    there is no such scene."""
    for scene in known():
        if scene.name == name:
            return f"{own.strip()}, {scene.prompt}" if own.strip() else scene.prompt
    raise NotFound(
        "There is no scene {name!r}; there are {known}.", name=name, known=", ".join(scene.name for scene in known())
    )
