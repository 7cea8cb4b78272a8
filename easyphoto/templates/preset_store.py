"""All templates that there are: those that come with the program, the downloaded gallery, those that the user added,
and folders of pictures.

For each preset that comes with the program the manifest ``templates/manifest.json`` names its source, its licence and
its sha256. It is a file beside the manifest, or a picture that an installed package carries (``package`` and
``resource``), which is not copied.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.catalog import Folders
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed
from easyphoto.ports import Alpha, Image
from easyphoto.storage.names import key, portable
from easyphoto.storage.names import user_id as checked_name
from easyphoto.templates.face_counts import FaceCounts, mark
from easyphoto.templates.fetched_gallery import FetchedGallery
from easyphoto.templates.picture_folders import PictureFolder, PictureFolders, pictures_in
from easyphoto.templates.template import OWN, Template
from easyphoto.templates.thumbnails import Thumbnails

_log = logging.getLogger(__name__)


class TemplateStore:
    """Presets of the manifest first, then the downloaded gallery, then the user's own. ``gallery`` is the
    one that can be downloaded. ``folders`` are the galleries that the user made of folders, which :meth:`list` leaves
    out."""

    def __init__(self, paths: Paths) -> None:
        self._shipped = paths.templates
        self._own = paths.outputs / "easyphoto-templates"
        self.gallery = FetchedGallery(Folders.of(paths))
        self.folders = PictureFolders(self._own)
        self.counts = FaceCounts(self._own / ".faces.json")

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """The small copies of the templates."""
        return Thumbnails(self._own / ".thumbnails")

    def list(self) -> list[Template]:
        """Return all presets, each under a name of its own: one of the user's that has the name of another is called by
        its whole file name."""
        manifest = self._shipped / "manifest.json"
        rows = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else []
        shipped = [template for row in rows if (template := self._read(row)) is not None]
        own = pictures_in(self._own)
        taken = Counter([t.name for t in shipped] + [p.stem for p in own] + [p.name for p in own])
        named = [(p.stem if taken[p.stem] == 1 else p.name, p) for p in own]
        added = [Template(name, p, name, "added by you", OWN, own=True) for name, p in named]
        return [*shipped, *self._beside({t.name for t in (*shipped, *added)}), *self._counted(added)]

    def everything(self) -> Sequence[Template]:
        """Return the presets and, behind them, the pictures of all galleries."""
        return [*self.list(), *self._counted(t for gallery in self.folders.list() for t in gallery.templates())]

    def search(self, text: str = "", faces: int | None = None, gallery: str | None = None) -> Sequence[Template]:
        """Return the templates in whose name, title or words something begins with each word of ``text``.

        ``faces`` leaves those that show that number of faces; those that nobody has counted are left out. ``gallery``
        leaves those of one gallery, and an empty one leaves those that lie in none.
        """
        if gallery:
            found = self._counted(self.folders.get(gallery).templates())
        else:
            found = self.everything() if gallery is None else self.list()
        wanted = [_at_a_word(word) for word in text.casefold().split()]
        return [
            t
            for t in found
            if (faces is None or t.faces == faces)
            and all(word.search(f"{t.name} {t.title} {t.words}".casefold()) for word in wanted)
        ]

    def get(self, name: str) -> Template:
        """Return the template of exactly that name; one of a gallery is called ``gallery/name``. Raises
        :class:`InvalidRequest` when it is the stem of several of the user's own presets, and :class:`NotFound` when
        there is none."""
        gallery, slash, _ = name.partition("/")
        of_gallery = slash and portable(gallery)  # else it is a path, which no template is called by
        known = self._counted(self.folders.get(gallery).templates()) if of_gallery else self.list()
        for template in known:
            if template.name == name:
                return template
        several = [t.name for t in known if t.own and not t.gallery and t.path.stem == name]
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
        return Template(name, path, name, "added by you", OWN, own=True)

    def delete(self, name: str) -> None:
        """Remove one of the user's own presets. Those that came with the program stay, and so do the pictures of
        galleries, which are the user's own files."""
        template = self.get(name)
        if template.gallery:
            raise InvalidRequest(
                "The template {name!r} belongs to a gallery: remove its file from the folder, or the whole gallery.",
                name=name,
            )
        if not template.own:
            raise InvalidRequest("The template {name!r} came with the program and can't be deleted.", name=name)
        self.thumbnails.forget(template.path)
        try:
            template.path.unlink()
        except OSError as error:
            raise StorageFailed(
                "The template {name!r} could not be deleted: {reason}.", name=name, reason=error.strerror or error
            ) from error
        self.counts.forget(template.path)

    def remove_gallery(self, name: str) -> PictureFolder:
        """Let go of a gallery: :meth:`PictureFolders.remove`, and its small copies and counts go too."""
        for template in self.folders.get(name).templates():
            self.thumbnails.forget(template.path)
        gone = self.folders.remove(name)
        self.counts.forget(gone.path)
        return gone

    def _beside(self, taken: set[str]) -> Sequence[Template]:
        """Return the downloaded gallery. A template whose name somebody gave to another one gives way."""
        return [t if t.name not in taken else replace(t, name=f"{t.name} (gallery)") for t in self.gallery.list()]

    def _counted(self, found: Iterable[Template]) -> Sequence[Template]:
        templates = tuple(found)
        known: Mapping[str, int] = self.counts.known() if templates else {}
        return [replace(t, faces=known.get(mark(t.path))) for t in templates]

    def _read(self, row: dict[str, Any]) -> Template | None:
        path = _resource(row["package"], row["resource"]) if "package" in row else self._shipped / row["file"]
        if path is None or not path.is_file():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            _log.warning("The template %s is not the picture that it should be and is left out.", row["name"])
            return None
        faces = row.get("faces")
        return Template(row["name"], path, row["title"], row["source"], row["licence"], faces, shipped=True)


def _at_a_word(text: str) -> re.Pattern[str]:
    """Return a pattern that finds ``text`` at the beginning of a word; anywhere in scripts that part no words."""
    return re.compile((r"\b" if text.isascii() and text[0].isalnum() else "") + re.escape(text))


def _resource(package: str, resource: str) -> Path | None:
    """Return a file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    return Path(roots[0]) / resource if roots else None
