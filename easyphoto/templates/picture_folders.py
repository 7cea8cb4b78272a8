"""Folders of pictures as galleries of templates: those inside the program's own folder of templates, and those that
somebody at this machine named, wherever they lie. Pictures of the latter are neither copied nor changed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed
from easyphoto.filenames import shown
from easyphoto.imaging import folder
from easyphoto.storage import files
from easyphoto.storage.names import key
from easyphoto.storage.names import user_id as checked_name
from easyphoto.templates.template import OWN, Template

NAMED = "galleries.json"
"""The file that holds the folders which lie elsewhere: name -> folder."""


@dataclass(frozen=True)
class PictureFolder:
    """A folder of pictures. ``linked`` is True for one that lies elsewhere, False for one that the program keeps."""

    name: str
    path: Path
    linked: bool

    def templates(self) -> list[Template]:
        """Return the pictures of the folder, each under ``folder/file``; none if the folder is gone. Raises
        :class:`StorageFailed` if it can't be read."""
        listed = pictures_in(self.path)
        stems = Counter(path.stem for path in listed)
        named = ((path, path.stem if stems[path.stem] == 1 else path.name) for path in listed)
        source = shown(self.name)
        return [
            Template(f"{self.name}/{name}", path, f"{self.name}/{name}", source, OWN, own=True, gallery=self.name)
            for path, name in named
        ]


class PictureFolders:
    """All galleries of the user's own. ``place`` is the program's folder of templates."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def list(self) -> tuple[PictureFolder, ...]:
        """Return the galleries in the order of their names."""
        below = (path for path in _entries(self._place) if path.is_dir())
        kept = {path.name: PictureFolder(path.name, path, linked=False) for path in below}
        linked = {name: PictureFolder(name, path, linked=True) for name, path in self._linked().items()}
        return tuple(found for _, found in sorted({**linked, **kept}.items()))

    def get(self, name: str) -> PictureFolder:
        """Return the gallery of exactly that name. Raises :class:`NotFound` when there is none."""
        for found in self.list():
            if found.name == name:
                return found
        raise NotFound("There is no gallery {name!r}.", name=name)

    def link(self, where: Path, name: str = "") -> PictureFolder:
        """Make a gallery of a folder, where it lies. Its own name is the default for ``name``."""
        where = where.expanduser().absolute()
        if not where.is_dir():
            raise NotFound("There is no folder {folder}.", folder=where)
        found = PictureFolder(self._free(name or where.name), where, linked=True)
        if not found.templates():
            raise InvalidRequest("There are no pictures in the folder {folder}.", folder=where)
        self._write({**self._linked(), found.name: where})
        return found

    def keep(self, name: str, uploaded: Iterable[Path]) -> PictureFolder:
        """Make a gallery of copies of the pictures among ``uploaded``, which appears when it is whole."""
        given = folder.listed(uploaded).pictures
        with self._made(name, len(given)) as (found, beside):
            for path in given:
                shutil.copyfile(path, _fresh(beside / path.name))
        return found

    def keep_all(self, name: str, sent: Mapping[str, bytes]) -> PictureFolder:
        """Make a gallery of pictures that were sent, by their names. Each must be a picture that can be read, and is
        kept as PNG."""
        with self._made(name, len(sent)) as (found, beside):
            for title, data in sent.items():
                picture = pictures.read(data, name=title)
                path = _fresh(beside / f"{checked_name(Path(title).stem)}.png")
                pictures.save_png(path, picture.image, alpha=picture.alpha)
        return found

    @contextlib.contextmanager
    def _made(self, name: str, count: int) -> Iterator[tuple[PictureFolder, Path]]:
        """Give a new gallery of that name, and the folder to put its pictures into meanwhile."""
        if not count:
            raise InvalidRequest("There are no pictures among these files.")
        target = self._place / self._free(name)
        beside = files.staging_name(target)
        try:
            beside.mkdir(parents=True)
            yield PictureFolder(target.name, target, linked=False), beside
            beside.replace(target)
        except OSError as error:
            raise files.not_written(target, error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def remove(self, name: str) -> PictureFolder:
        """Let go of a gallery. One that lies elsewhere is forgotten, and one that the program keeps is deleted."""
        found = self.get(name)
        if found.linked:
            self._write({other: path for other, path in self._linked().items() if other != name})
            return found
        try:
            shutil.rmtree(found.path)
        except OSError as error:
            raise StorageFailed(
                "The gallery {name!r} could not be deleted: {reason}.", name=name, reason=error.strerror or error
            ) from error
        return found

    def _free(self, name: str) -> str:
        name = checked_name(name)
        if key(name) in {key(other.name) for other in self.list()}:
            raise InvalidRequest("There is already a gallery {name!r}: choose another name.", name=name)
        return name

    def _linked(self) -> dict[str, Path]:
        """Return the folders that lie elsewhere. A damaged list is no list."""
        try:
            data: Any = files.read_json(self._place / NAMED)
        except (OSError, ValueError):
            return {}
        rows = data.items() if isinstance(data, dict) else ()
        return {name: Path(path) for name, path in rows if isinstance(name, str) and isinstance(path, str)}

    def _write(self, linked: Mapping[str, Path]) -> None:
        files.write_json(self._place / NAMED, {name: str(path) for name, path in linked.items()})


def pictures_in(place: Path) -> Sequence[Path]:
    """Return the pictures that lie in a folder itself, in the order of their names; none if the folder is gone. Raises
    :class:`StorageFailed` if it can't be read."""
    return folder.listed(path for path in _entries(place) if path.is_file()).pictures


def _entries(place: Path) -> Sequence[Path]:
    try:
        return sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageFailed(
            "The folder {own} can't be read: {reason}.", own=place.name, reason=error.strerror or error
        ) from error


def _fresh(path: Path) -> Path:
    """Return ``path``, or a path beside it that no file has."""
    found, count = path, 1
    while found.exists():
        count += 1
        found = path.with_name(f"{path.stem} {count}{path.suffix}")
    return found
