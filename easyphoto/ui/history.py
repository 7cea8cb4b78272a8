"""The portraits that were made so far, by what their recipes say: whom they show, when and over which way they were
made, and how alike they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto.storage import listing, portraits


@dataclass(frozen=True)
class Made:
    """One portrait. ``likeness`` is the mean over its faces on the scale from 0 to 1, None if nothing was measured.
    ``origin`` is :data:`easyphoto.service.requests.OVER_API` or empty. ``template`` is the name of its template, empty
    for one from text."""

    path: Path
    people: tuple[str, ...]
    at: float
    likeness: float | None
    origin: str
    template: str


class History:
    """Finds the portraits in ``folder``. Each file is read once for each state that it has had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[tuple[Path, int, int], Made | None] = {}

    def list(self) -> Sequence[Made]:
        """Return all portraits with a recipe, the newest first."""
        found = [made for path in listing.below(self._folder, "*.png") if (made := self._of(path)) is not None]
        return sorted(found, key=lambda made: (made.at, made.path.name), reverse=True)

    def named(self, name: str) -> Path | None:
        """Return the portrait of this name below the folder; the name comes from a page."""
        return next((made.path for made in self.list() if self.name(made.path) == name), None)

    def name(self, path: Path) -> str:
        """Return the name of a portrait below the folder."""
        return path.relative_to(self._folder).as_posix()

    def _of(self, path: Path) -> Made | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._read:
            recipe = portraits.recipe_in(path)
            self._read[key] = None if recipe is None else _made(path, stat.st_mtime, recipe)
        return self._read[key]


def of_people(made: Iterable[Made], names: Iterable[str]) -> Sequence[Made]:
    """Return those that show somebody who has or had one of these ``names``."""
    wanted = frozenset(names)
    return [one for one in made if wanted & set(one.people)]


def _made(path: Path, at: float, recipe: Any) -> Made:
    """Read what a recipe says, which may come from anywhere: what can't be is left out."""
    people, template, told = recipe.get("user_ids"), recipe.get("template"), recipe.get("likeness")
    scores = [face.get("score") for face in told if isinstance(face, dict)] if isinstance(told, list) else []
    known = [float(score) for score in scores if isinstance(score, int | float)]
    return Made(
        path=path,
        people=tuple(str(name) for name in people) if isinstance(people, list) else (),
        at=at,
        likeness=sum(known) / len(known) if known else None,
        origin=str(recipe.get("origin") or ""),
        template=str(template.get("name") or "") if isinstance(template, dict) else "",
    )
