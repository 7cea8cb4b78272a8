"""What a template is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OWN = "yours"
"""The licence of what the user added."""


@dataclass(frozen=True)
class Template:
    """A picture to put faces into.

    ``title`` is what users see. ``source`` says who made it, and ``licence`` under which terms. ``faces`` is how many
    faces it shows, None where nobody has counted them. ``own`` is True for one that the user added, and ``shipped`` for
    one that comes with the program. ``gallery`` is the name of the folder that it lies in, empty for presets and for
    what the user added one by one. ``words`` describe it, for whoever searches.
    """

    name: str
    path: Path
    title: str
    source: str
    licence: str
    faces: int | None = None
    own: bool = False
    shipped: bool = False
    gallery: str = ""
    words: str = ""
