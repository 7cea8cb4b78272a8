"""What the registry knows of a backend before anything of it is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto.messages import Message
from easyphoto.ports import Face, Image, Points, Vision
from easyphoto.vision.inventory import Inventory

ROLES = (
    "detector",
    "landmarks",
    "embedder",
    "parser",
    "saliency",
    "retoucher",
    "fuser",
    "enhancer",
)
"""The roles; their names are those of the attributes of :class:`easyphoto.ports.Vision`."""


@dataclass(frozen=True)
class Context:
    """What a factory may use: the folder of weights, the other roles (each is loaded when it is first used), and the 68
    points of a face."""

    models: Path
    vision: Vision
    landmarks: Callable[[Image, Face], Points]
    """Takes a picture and a face. Gives the 68 points of the face, shape (68, 2): its own, or where it has none,
    predicted ones."""


@dataclass(frozen=True)
class Backend:
    """One way to serve one role.

    ``packages`` are modules that must be importable. ``weights`` are files that must exist, relative to the models
    folder; ``assets`` are names of the catalog's assets, which may lie anywhere below it. ``commercial`` says whether
    code and weights may be used commercially, and ``licence`` why.
    """

    name: str
    role: str
    factory: Callable[[Context], Any]
    licence: str
    commercial: bool
    packages: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()

    def missing(self, models: Path, inventory: Inventory | None = None) -> list[str]:
        """What the backend lacks here, in words; empty when it can be tried. ``inventory`` is a look through ``models``
        that many backends can share."""
        packages = [
            Message("the package {package}", package=p) for p in self.packages if importlib.util.find_spec(p) is None
        ]
        files = [Message("the file {file}", file=w) for w in self.weights if not (models / w).is_file()]
        return packages + files + (inventory or Inventory(models)).lacking(self.assets)
