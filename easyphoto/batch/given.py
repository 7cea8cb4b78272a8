"""The pictures that a table names: files beside it, presets, or what came with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from easyphoto import pictures
from easyphoto.batch.faults import shortened
from easyphoto.errors import InvalidRequest
from easyphoto.filenames import shown
from easyphoto.imaging import folder
from easyphoto.pictures import Source
from easyphoto.templates import TemplateStore

_LOOKED_AT = 64
"""Pixels of the side at which a picture is looked at to know that it can be read."""


@dataclass(frozen=True)
class GivenTemplate:
    """A template of a row: what it is called, and its file or bytes."""

    name: str
    source: Source


class Places(Protocol):
    """Where the names of pictures in a table lead."""

    def templates(self, name: str) -> tuple[GivenTemplate, ...]:
        """The template or the folder of templates of that name. :class:`InvalidRequest` where there is none."""

    def picture(self, name: str) -> Source:
        """One picture that is no template. :class:`InvalidRequest` where there is none."""


class FilePlaces:
    """Files and folders as the table's own folder sees them, then presets: for whoever may read the disk."""

    def __init__(self, beside: Path, presets: TemplateStore) -> None:
        self._beside = beside
        self._presets = presets
        self.notices: list[str] = []
        """What the folders hold that was passed over."""

    def templates(self, name: str) -> tuple[GivenTemplate, ...]:
        path = self._path(name)
        if _is_folder(path):
            listing = _listing(path)
            if listing.notice:
                self.notices.append(listing.notice)
            return tuple(GivenTemplate(p.stem, p) for p in listing.pictures)
        if not path.suffix and path.name == name and not path.is_file():
            path = self._presets.get(name).path
        return (GivenTemplate(path.stem, path),)

    def picture(self, name: str) -> Source:
        return self._path(name)

    def _path(self, name: str) -> Path:
        if "\0" in name:
            raise InvalidRequest("{name} does not exist.", name=shown(name))
        return self._beside / name


class SentPlaces:
    """Pictures that came with the table, by their names, then presets: for clients, who name no path of ours."""

    def __init__(self, sent: Mapping[str, Source], presets: TemplateStore) -> None:
        self._sent = sent
        self._presets = presets

    def templates(self, name: str) -> tuple[GivenTemplate, ...]:
        if name in self._sent:
            return (GivenTemplate(Path(name).stem, self._sent[name]),)
        return (GivenTemplate(name, self._presets.get(name).path),)

    def picture(self, name: str) -> Source:
        if name not in self._sent:
            raise InvalidRequest("The picture {name!r} did not come with the table.", name=name)
        return self._sent[name]


def _is_folder(path: Path) -> bool:
    """Whether there is a folder; :class:`InvalidRequest` for a name that the system can't look for."""
    try:
        return path.is_dir()
    except OSError as error:
        raise InvalidRequest(
            "{name} can't be opened ({reason}).", name=shortened(path.name), reason=error.strerror or error
        ) from error


def _listing(path: Path) -> folder.Listing:
    try:
        found = folder.listing(path)
    except OSError as error:
        raise InvalidRequest(
            "The folder {path} can't be read: {reason}.", path=shown(path.name), reason=error.strerror or error
        ) from error
    if not found.pictures:
        raise InvalidRequest("There are no pictures in the folder {path}.", path=shown(path.name))
    return found


def look_at(source: Source) -> None:
    """Raise :class:`InvalidRequest` for what is no picture, or one that is cut off."""
    pictures.load(source, max_side=_LOOKED_AT)
