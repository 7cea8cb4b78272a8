"""Preset templates: those that come with the program and those that the user added.

The manifest ``templates/manifest.json`` names for each preset its source, licence and sha256. A preset is a file beside
the manifest, or a picture that an installed package carries (``package`` and ``resource``), which is then not copied.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed
from easyphoto.people import user_id as checked_name
from easyphoto.ports import Image

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Template:
    """A preset. ``title`` is shown; ``own`` is True for what the user added."""

    name: str
    path: Path
    title: str
    source: str
    licence: str
    faces: int | None = None
    own: bool = False


class TemplateStore:
    """Presets of the manifest first, then the user's own."""

    def __init__(self, paths: Paths) -> None:
        self._shipped = paths.templates
        self._own = paths.outputs / "easyphoto-templates"

    def list(self) -> list[Template]:
        manifest = self._shipped / "manifest.json"
        rows = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else []
        shipped = [template for row in rows if (template := self._read(row)) is not None]
        own = sorted(p for p in self._own.glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
        return shipped + [Template(p.stem, p, p.stem, "added by you", "yours", own=True) for p in own]

    def get(self, name: str) -> Template:
        for template in self.list():
            if template.name == name:
                return template
        raise NotFound(f"There is no template {name!r}.")

    def add(self, name: str, image: Image) -> Template:
        """Keep a picture among the user's own presets."""
        name = checked_name(name)
        if any(t.name == name for t in self.list()):
            raise InvalidRequest(f"There is already a template {name!r}: choose another name.")
        path = self._own / f"{name}.png"
        pictures.save_png(path, image)
        return Template(name, path, name, "added by you", "yours", own=True)

    def delete(self, name: str) -> None:
        """Remove one of the user's own presets; those that came with the program stay."""
        template = self.get(name)
        if not template.own:
            raise InvalidRequest(f"The template {name!r} came with the program and can't be deleted.")
        try:
            template.path.unlink()
        except OSError as error:
            raise StorageFailed(f"The template {name!r} could not be deleted: {error.strerror}.") from error

    def _read(self, row: dict[str, Any]) -> Template | None:
        path = _resource(row["package"], row["resource"]) if "package" in row else self._shipped / row["file"]
        if path is None or not path.is_file():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            _log.warning("The template %s is not the picture that it should be and is left out.", row["name"])
            return None
        return Template(row["name"], path, row["title"], row["source"], row["licence"], row.get("faces"))


def _resource(package: str, resource: str) -> Path | None:
    """A file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    return Path(roots[0]) / resource if roots else None
