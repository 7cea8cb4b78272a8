"""Where weights that are there already lie: they are found by name or by checksum, anywhere in the folders of the
host."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path

from easyphoto.catalog.assets import Asset
from easyphoto.catalog.download_plan import FileVerdict, Present
from easyphoto.catalog.model_folders import PLAIN, Folders
from easyphoto.catalog.records import Records
from easyphoto.catalog.weight_formats import wrong_file
from easyphoto.messages import Message

SUFFIXES = frozenset({".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".onnx", ".tfjs"})
PASSED_BY = frozenset({".git", "venv", ".venv", "node_modules", "__pycache__"})


class Index:
    """The files below the searched folders that can be weights, by name and by size. Links are followed once.

    A folder of a WebUI holds thousands of files. Therefore the walk only reads names, and a file is looked at when
    somebody asks for it.
    """

    def __init__(self, folders: Folders) -> None:
        self._named: dict[str, list[tuple[str, str]]] = defaultdict(list)
        seen: set[tuple[int, int]] = set()
        for folder in folders.search:
            for parent, below, names in os.walk(folder, followlinks=True):
                with contextlib.suppress(OSError):  # it may have been removed since it was listed
                    place = Path(parent).stat()
                    known = (place.st_dev, place.st_ino) in seen
                    below[:] = [] if known else sorted(set(below) - PASSED_BY)
                    if not known:
                        seen.add((place.st_dev, place.st_ino))
                        self._add(parent, names)

    def named(self, name: str) -> list[Path]:
        """Return the files of that name, whatever the case of its letters."""
        found = (Path(parent, own) for parent, own in self._named.get(name.lower(), ()))
        return [path for path in found if path.is_file()]

    def sized(self, size: int) -> list[Path]:
        return self._sized.get(size, [])

    @cached_property
    def _sized(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = defaultdict(list)
        for name in self._named:
            for path in self.named(name):
                found[path.stat().st_size].append(path)
        return found

    def _add(self, parent: str, names: list[str]) -> None:
        for name in sorted(names):
            small = name.lower()
            if small[small.rfind(".") :] in SUFFIXES:
                self._named[small].append((parent, name))


def destination(asset: Asset, folders: Folders) -> Path:
    """Return where a download of the asset goes."""
    return folders.destinations[asset.folder] / asset.under / asset.file


def shown(folder: Path, folders: Folders) -> str:
    """Return a folder as it is shown to a user, who may sit at another machine: by its name below the models folder."""
    if folder.is_relative_to(folders.root):
        return (Path(folders.root.name) / folder.relative_to(folders.root)).as_posix()
    return folder.name


def find(
    asset: Asset, folders: Folders, index: Index, records: Records, *, hashing: bool = True
) -> tuple[Present | None, list[FileVerdict]]:
    """Return the asset's file, and the files that have its name but can't be used.

    ``hashing`` says whether to compute checksums that are not remembered. Without it, a name, a size and a sound
    structure are enough.
    """
    wrong: list[FileVerdict] = []
    for path in named(asset, folders, index):
        reason = against(asset, path, records, hashing=hashing)
        if reason is None:
            return Present(asset, path, "name"), wrong
        wrong.append(FileVerdict(asset, path, reason))
    for path in (p for name in asset.also for p in index.named(name)):
        if wrong_file(path) is None:
            return Present(asset, path, "name"), wrong
    expected = asset.sha256 or records.known(asset.name)
    if expected and asset.size and hashing and asset.folder not in PLAIN:
        for path in index.sized(asset.size):
            if records.sha256(path) == expected:
                return Present(asset, path, "hash"), wrong
    return None, wrong


def against(asset: Asset, path: Path, records: Records, *, hashing: bool = True, again: bool = False) -> str | None:
    """Return why ``path`` is not the asset, as the end of a sentence; None when it is."""
    size = path.stat().st_size
    if asset.size is not None and size != asset.size:
        return Message("has {size:,} bytes where the published file has {published:,}", size=size, published=asset.size)
    if reason := wrong_file(path):
        return reason
    expected = asset.sha256 or records.known(asset.name)
    digest = records.sha256(path, again=again) if hashing else records.remembered(path)
    if expected and digest and digest != expected:
        return Message(
            "is not the file that is expected (its sha256 is {digest}..., not {expected}...)",
            digest=digest[:12],
            expected=expected[:12],
        )
    return None


def named(asset: Asset, folders: Folders, index: Index) -> list[Path]:
    """Return the files that have the asset's name where it is looked for, the one at its own place first."""
    first = destination(asset, folders)
    if asset.folder in PLAIN:
        return [first] if first.is_file() else []
    found = index.named(asset.file)
    if asset.by_folder:
        tail = (*Path(asset.under).parts[-1:], asset.file)
        found = [p for p in found if p.parts[-2:] == tail]
    return sorted(found, key=lambda p: p.resolve() != first.resolve())
