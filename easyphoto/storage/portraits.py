"""The portraits that show a person, found by the recipe in each PNG."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from easyphoto.storage import listing

CHUNK = "easyphoto"
"""The text chunk of the PNG in which a portrait's recipe stands."""
_SLACK = 60.0
"""Seconds by which the clock of a file system may be behind."""


def recipe_in(path: Path) -> Mapping[str, Any] | None:
    """Return the recipe of a portrait as its file holds it, None for a picture without one. No pixel is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path, formats=["PNG"]) as opened:
                recipe = json.loads(str(opened.info[CHUNK]))
    # Any file may lie among the portraits, and a stranger's PNG may be broken in many ways; it shows nobody we know.
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, RecursionError, Pillow.DecompressionBombError):
        return None
    return recipe if isinstance(recipe, dict) else None


def people_in(path: Path) -> tuple[str, ...]:
    """Return the user ids of a portrait's recipe; none for a picture without one."""
    names = (recipe_in(path) or {}).get("user_ids")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def of(folder: Path, user_id: str) -> list[Path]:
    """Return the portraits under ``folder`` that show the person, alone or with others."""
    return [path for path in listing.below(folder, "*.png") if user_id in people_in(path)]


def of_job(folder: Path, job: str, since: float) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The portraits in ``folder`` that the job of that id has saved, with their recipes. Files that are older than
    ``since`` (seconds since the epoch) are not looked into, unless the clock has been put back behind it."""
    if time.time() < since:
        since = 0.0
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".png")
    except OSError:
        return
    for path in found:
        if listing.newest([path]) < since - _SLACK:
            continue
        recipe = recipe_in(path)
        if recipe is not None and recipe.get("job") == job:
            yield path, recipe
