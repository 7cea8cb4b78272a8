"""What travels between the head and a worker where they share no folder: files, by their place in a data folder.

Both sides have places of their own for the same things, so that a file is named by its area and its path below it, and
what is said of files is translated from one side's folders to the other's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from easyphoto.config import Paths
from easyphoto.errors import StorageFailed
from easyphoto.storage import files, listing, names
from easyphoto.storage.folders import PARENT_LOCK, STAGED, STATE, WORKER_LOCK, PersonFolder

_STAYING = frozenset({PARENT_LOCK, WORKER_LOCK})
"""Files of a training that mean something on their own machine alone."""


class Area(str, Enum):
    """A folder that head and worker both have."""

    PEOPLE = "people"
    LORAS = "loras"
    PORTRAITS = "portraits"

    def below(self, paths: Paths) -> Path:
        """Where it lies in the folders of ``paths``."""
        places = {Area.PEOPLE: paths.people, Area.LORAS: paths.loras, Area.PORTRAITS: paths.portraits}
        return places[self]


@dataclass(frozen=True, eq=False)
class PackedFile:
    """One file: ``name`` is its path below the area, with slashes; ``modified`` its time of change in nanoseconds, by
    which what was remembered of a photo is found again."""

    area: Area
    name: str
    data: bytes
    modified: int


@dataclass(frozen=True, eq=False)
class Told:
    """What a worker says: an event as a line of JSON, files that come with it, or how the request ended.

    ``event`` names files where the worker has them. ``jobs`` are all files that are in the person's job folder then,
    by name, where pieces of it come; None where none do. ``published`` says that the pieces outside of it are to be put
    in the person's place as one. ``result`` is what the request gave, as data; the last event of a request that failed
    is ``Failed``, and then ``ended`` is set too.
    """

    event: str = ""
    pieces: tuple[PackedFile, ...] = ()
    jobs: tuple[str, ...] | None = None
    published: bool = False
    result: Mapping[str, Any] | None = None
    ended: bool = False


@dataclass(frozen=True)
class Translation:
    """Paths of one side in what is said, turned into those of the other. ``files`` are files that lie under another
    name here than there."""

    areas: tuple[tuple[str, str], ...]
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def between(cls, there: Mapping[str, str], here: Paths) -> Translation:
        """From the folders ``there``, by area, to those of this side."""
        return cls(tuple((there[area.value], str(area.below(here))) for area in Area))

    def data(self, value: Any) -> Any:
        """JSON data with every text that is a path of the other side as the path of this side."""
        if isinstance(value, Mapping):
            return {key: self.data(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(one) for one in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, value: str) -> str:
        """A text, translated where it is a path below an area."""
        if value in self.files:
            return self.files[value]
        for there, here in self.areas:
            if value == there or value.startswith((there + "/", there + os.sep)):
                return str(Path(here) / value[len(there) + 1 :])
        return value


def pack(paths: Paths, area: Area, file: Path) -> PackedFile:
    """A file of an area. OSError when it can't be read."""
    name = PurePosixPath(*file.relative_to(area.below(paths)).parts)
    return PackedFile(area, str(name), file.read_bytes(), file.stat().st_mtime_ns)


def packed(paths: Paths, area: Area, found: Iterable[Path]) -> Iterator[PackedFile]:
    """Those of the files that are there; one that is moved away meanwhile is left out."""
    for file in found:
        try:
            yield pack(paths, area, file)
        except FileNotFoundError:
            continue


def place(paths: Paths, piece: PackedFile) -> Path:
    """Where a piece belongs here. :class:`StorageFailed` when its name leads anywhere else."""
    parts = PurePosixPath(piece.name).parts
    if not parts or not all(names.portable(part) for part in parts):
        raise StorageFailed("A worker sent a file {name!r}, which can't be kept under that name.", name=piece.name)
    return piece.area.below(paths).joinpath(*parts)


def put(paths: Paths, piece: PackedFile) -> Path:
    """Write a piece to its place, whole or not at all. Raises :class:`StorageFailed`."""
    return put_at(place(paths, piece), piece)


def put_at(file: Path, piece: PackedFile) -> Path:
    """Write a piece to ``file``, whole or not at all, with its time of change. Raises :class:`StorageFailed`."""
    files.write_bytes(file, piece.data)
    os.utime(file, ns=(piece.modified, piece.modified))
    return file


def of_person(paths: Paths, person: PersonFolder, *, photos: bool) -> tuple[PackedFile, ...]:
    """All that is there of somebody, the LoRA with it. Without ``photos`` only what portraits need: not the photos as
    they were uploaded, nor what a training would go on from."""
    found = tuple(packed(paths, Area.PEOPLE, _files_of(person, photos=photos)))
    lora = Area.LORAS.below(paths) / f"{person.name}.safetensors"
    return (*found, *packed(paths, Area.LORAS, [lora] if lora.is_file() else []))


def in_job(person: PersonFolder) -> list[Path]:
    """The files of a person's job folder that travel, the state last: once that is there, all that it needs is."""
    found = [path for path in _below(person.job.path) if path.name not in _STAYING]
    kept = [path for path in found if not path.relative_to(person.job.path).parts[0].startswith(STAGED)]
    return sorted(kept, key=lambda path: (path.name == STATE, path))


def _files_of(person: PersonFolder, *, photos: bool) -> list[Path]:
    if photos:
        outside = [path for path in _below(person.path) if not path.is_relative_to(person.job.path)]
        return [*outside, *in_job(person)]
    # Of the weights only the best picture: checkpoints and the LoRA's copy are many times larger than all else.
    left = (person.job.path, person.backup, person.best.parent)
    shown = [path for path in _below(person.path) if not any(path.is_relative_to(folder) for folder in left)]
    best = [path for path in _below(person.best) if path.suffix in (".jpg", ".png")] if person.best.is_dir() else []
    reward = [person.reward] if person.reward.is_file() else []
    return [*shown, *best, *reward]


def _below(folder: Path) -> list[Path]:
    """The files below a folder but for hidden ones, which are on their way in or out."""
    return [
        path
        for path in listing.below(folder)
        if path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
