"""Preset templates: those that come with the program, and those that the user added.

For each preset the manifest ``templates/manifest.json`` names its source, its licence and its sha256. A preset is a
file beside the manifest, or a picture that an installed package carries (``package`` and ``resource``), which is not
copied.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed
from easyphoto.imaging import folder
from easyphoto.ports import Alpha, Image
from easyphoto.storage.names import key
from easyphoto.storage.names import user_id as checked_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Template:
    """A preset. ``title`` is what users see; ``own`` is True for one that the user added."""

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
        """Return all presets, each under a name of its own: one of the user's that has the name of another is called by
        its whole file name."""
        manifest = self._shipped / "manifest.json"
        rows = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else []
        shipped = [template for row in rows if (template := self._read(row)) is not None]
        own = self._files()
        taken = Counter([t.name for t in shipped] + [p.stem for p in own] + [p.name for p in own])
        named = [(p.stem if taken[p.stem] == 1 else p.name, p) for p in own]
        return shipped + [Template(name, p, name, "added by you", "yours", own=True) for name, p in named]

    def get(self, name: str) -> Template:
        """Return the preset of exactly that name. Raises :class:`InvalidRequest` when it is the stem of several of the
        user's own presets, and :class:`NotFound` when there is none."""
        known = self.list()
        for template in known:
            if template.name == name:
                return template
        several = [t.name for t in known if t.own and t.path.stem == name]
        if several:
            raise InvalidRequest(
                "There are several templates {name!r}: say which, {files}.", name=name, files=" or ".join(several)
            )
        raise NotFound("There is no template {name!r}.", name=name)

    def add(self, name: str, image: Image, alpha: Alpha | None = None) -> Template:
        """Keep a picture among the user's own presets. ``alpha`` is its transparency (:class:`pictures.Picture`)."""
        name = checked_name(name)
        stems = {key(n) for t in self.list() for n in (t.name, t.path.stem if t.own else t.name)}
        if key(name) in stems:
            raise InvalidRequest("There is already a template {name!r}: choose another name.", name=name)
        path = self._own / f"{name}.png"
        pictures.save_png(path, image, alpha=alpha)
        return Template(name, path, name, "added by you", "yours", own=True)

    def delete(self, name: str) -> None:
        """Remove one of the user's own presets; those that came with the program stay."""
        template = self.get(name)
        if not template.own:
            raise InvalidRequest("The template {name!r} came with the program and can't be deleted.", name=name)
        try:
            template.path.unlink()
        except OSError as error:
            raise StorageFailed(
                "The template {name!r} could not be deleted: {reason}.", name=name, reason=error.strerror
            ) from error

    def _files(self) -> Sequence[Path]:
        """Return the pictures that the user added."""
        try:
            entries = sorted(self._own.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageFailed(
                "The folder {own} can't be read: {reason}.", own=self._own.name, reason=error.strerror or error
            ) from error
        return folder.listed(p for p in entries if p.is_file() and not p.name.startswith(".")).pictures

    def _read(self, row: dict[str, Any]) -> Template | None:
        path = _resource(row["package"], row["resource"]) if "package" in row else self._shipped / row["file"]
        if path is None or not path.is_file():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            _log.warning("The template %s is not the picture that it should be and is left out.", row["name"])
            return None
        return Template(row["name"], path, row["title"], row["source"], row["licence"], row.get("faces"))


def _resource(package: str, resource: str) -> Path | None:
    """Return a file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    return Path(roots[0]) / resource if roots else None
