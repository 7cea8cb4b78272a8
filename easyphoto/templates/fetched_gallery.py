"""The gallery that can be downloaded: pictures of the catalog, and parts of them, as templates.

``gallery.json`` has one row for each template. Its ``parts`` are pictures of the catalog, or boxes in them (left, top,
right, bottom, in pixels). One whole picture is a template as it is. Anything else is put together on this machine, once
the pictures are there: the parts stand side by side, with a white gap between them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from easyphoto import pictures
from easyphoto.catalog import Asset, Catalog, Folders, Look
from easyphoto.errors import EasyPhotoError
from easyphoto.ports import Image
from easyphoto.templates.template import Template

BUNDLE = "templates"
"""The feature of the catalog that brings the pictures."""
DATA = Path(__file__).with_name("gallery.json")
GAP = 1 / 40
"""The gap between two parts, as a share of their height."""

SHEET_AREA = 32_000_000
"""The largest picture, in pixels, that is read at its full size: boxes are places in the published file."""

PartBox = tuple[int, int, int, int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GalleryRow:
    """One template of the gallery. Each of ``parts`` is the name of an asset and a box in it, or None for the whole."""

    name: str
    title: str
    title_zh: str
    faces: int
    words: str
    parts: tuple[tuple[str, PartBox | None], ...]


@lru_cache(maxsize=1)
def rows() -> tuple[GalleryRow, ...]:
    """All templates of the gallery, in the order in which the user sees them."""
    found = []
    for row in json.loads(DATA.read_text(encoding="utf-8")):
        parts = tuple((part["asset"], _box(part["box"]) if "box" in part else None) for part in row.pop("parts"))
        found.append(GalleryRow(**row, parts=parts))
    return tuple(found)


class FetchedGallery:
    """The templates of the gallery whose pictures are among ``folders``."""

    def __init__(self, folders: Folders, catalog: Catalog | None = None) -> None:
        self._folders = folders
        self._catalog = Catalog.load() if catalog is None else catalog

    def missing(self, *, commercial_only: bool = False) -> Sequence[Asset]:
        """Return the pictures that aren't there; without those that may not be used commercially, where it is so
        asked."""
        there = self._there()
        assets = (self._catalog.assets[name] for name in self._wanted() if name not in there)
        return [asset for asset in assets if asset.commercial or not commercial_only]

    def list(self) -> Sequence[Template]:
        """Return the templates whose pictures are there, and put together those that aren't yet. One that can't be put
        together is left out."""
        there = self._there()
        opened: dict[Path, Image] = {}
        found = []
        for row in rows():
            if all(name in there for name, _ in row.parts):
                try:
                    found.append(self._template(row, there, opened))
                except (EasyPhotoError, OSError) as error:
                    _log.warning("The template %s can't be put together: %s", row.name, error)
        return found

    def _there(self) -> dict[str, Path]:
        """Return the pictures that are there by the names of their assets."""
        look = Look(self._catalog, self._folders)
        return {name: path for name in self._wanted() if (path := look.path(name)) is not None}

    def _wanted(self) -> Iterable[str]:
        named = dict.fromkeys(name for row in rows() for name, _ in row.parts)
        return [name for name in named if name in self._catalog.assets]

    def _template(self, row: GalleryRow, there: dict[str, Path], opened: dict[Path, Image]) -> Template:
        assets = [self._catalog.assets[name] for name, _ in row.parts]
        path = there[row.parts[0][0]]
        if len(row.parts) > 1 or row.parts[0][1] is not None:
            path = self._put_together(row, assets, there, opened)
        source = "; ".join(dict.fromkeys(asset.credit for asset in assets))
        licence = "; ".join(dict.fromkeys(asset.licence for asset in assets))
        return Template(row.name, path, row.title, source, licence, row.faces, words=f"{row.words} {row.title_zh}")

    def _put_together(
        self, row: GalleryRow, assets: Sequence[Asset], there: dict[str, Path], opened: dict[Path, Image]
    ) -> Path:
        """Return the picture of ``row``, whose name changes with its parts. ``opened`` keeps pictures for the next."""
        made_of = json.dumps([row.parts, [asset.sha256 for asset in assets]])
        key = hashlib.sha256(made_of.encode()).hexdigest()[:8]
        target = self._folders.destinations["template"] / "parts" / f"{row.name}-{key}.png"
        if not target.exists():
            cut = []
            for name, box in row.parts:
                path = there[name]
                if path not in opened:
                    opened[path] = pictures.load(path, max_area=SHEET_AREA)
                left, top, right, bottom = box or (0, 0, opened[path].shape[1], opened[path].shape[0])
                cut.append(opened[path][top:bottom, left:right])
            pictures.save_png(target, side_by_side(cut))
        return target


def side_by_side(parts: Sequence[Image]) -> Image:
    """Return pictures of one height beside one another, with a white gap between them."""
    height = parts[0].shape[0]
    gap: Image = np.full((height, round(height * GAP), 3), 255, np.uint8)
    row = [parts[0]]
    for part in parts[1:]:
        row += [gap, part]
    return np.ascontiguousarray(np.concatenate(row, axis=1))


def _box(values: Sequence[int]) -> PartBox:
    left, top, right, bottom = values
    return left, top, right, bottom
