"""A portrait that is remembered by its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.ports import Image, Likeness, Portrait


class SavedPortrait(Portrait):
    """A portrait whose pixels lie in its file alone and are read when they are asked for: the queue remembers what it
    made long after anybody looks at it."""

    @classmethod
    def of(cls, portrait: Portrait) -> Portrait:
        """The same without its pixels; one that has no file keeps them."""
        if portrait.path is None:
            return portrait
        saved = object.__new__(cls)
        saved.__dict__.update({k: v for k, v in vars(portrait).items() if k != "image"}, alpha=None)
        return saved

    @classmethod
    def at(
        cls, path: Path, seed: int, template: int, likeness: tuple[Likeness | None, ...], recipe: Mapping[str, Any]
    ) -> Portrait:
        """The portrait that was saved at ``path`` before."""
        saved = object.__new__(cls)
        about = {"seed": seed, "template": template, "likeness": likeness, "recipe": recipe}
        saved.__dict__.update(about, stages={}, path=path, alpha=None)
        return saved

    def __getattr__(self, name: str) -> Image:
        if name == "image" and self.path is not None:
            return pictures.load(self.path)
        raise AttributeError(name)
