"""Weights that are there already, by name or by checksum, anywhere in the folders of the host."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from easyphoto.catalog.assets import Asset
from easyphoto.catalog.folders import Folders
from easyphoto.catalog.formats import wrong_file
from easyphoto.catalog.plan import Present, Verdict
from easyphoto.catalog.records import Records

SUFFIXES = frozenset({".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".onnx"})
PASSED_BY = frozenset({".git", "venv", ".venv", "node_modules", "__pycache__"})


class Index:
    """The files below the searched folders that can be weights, by name and by size. Links are followed once."""

    def __init__(self, folders: Folders) -> None:
        self._named: dict[str, list[Path]] = defaultdict(list)
        self._sized: dict[int, list[Path]] = defaultdict(list)
        seen: set[str] = set()
        for folder in folders.search:
            for parent, below, names in os.walk(folder, followlinks=True):
                real = os.path.realpath(parent)
                below[:] = [] if real in seen else sorted(set(below) - PASSED_BY)
                if real not in seen:
                    seen.add(real)
                    self._add(Path(parent), names)

    def named(self, name: str) -> list[Path]:
        """Files of that name, whatever the case of its letters."""
        return self._named.get(name.lower(), [])

    def sized(self, size: int) -> list[Path]:
        return self._sized.get(size, [])

    def _add(self, parent: Path, names: list[str]) -> None:
        for name in sorted(names):
            path = parent / name
            if path.suffix.lower() in SUFFIXES and path.is_file():
                self._named[name.lower()].append(path)
                self._sized[path.stat().st_size].append(path)


def destination(asset: Asset, folders: Folders) -> Path:
    """Where a download of the asset goes."""
    return folders.destinations[asset.folder] / asset.under / asset.file


def find(
    asset: Asset, folders: Folders, index: Index, records: Records, *, hashing: bool = True
) -> tuple[Present | None, list[Verdict]]:
    """The asset's file, and what was found under its name but can't be used.

    ``hashing``: compute checksums that are not remembered; without, a name, a size and a sound structure suffice.
    """
    wrong: list[Verdict] = []
    for path in _by_name(asset, folders, index):
        reason = against(asset, path, records, hashing=hashing)
        if reason is None:
            return Present(asset, path, "name"), wrong
        wrong.append(Verdict(asset, path, reason))
    for path in (p for name in asset.also for p in index.named(name)):
        if wrong_file(path) is None:
            return Present(asset, path, "name"), wrong
    expected = asset.sha256 or records.known(asset.name)
    if expected and asset.size and hashing:
        for path in index.sized(asset.size):
            if records.sha256(path) == expected:
                return Present(asset, path, "hash"), wrong
    return None, wrong


def against(asset: Asset, path: Path, records: Records, *, hashing: bool = True, again: bool = False) -> str | None:
    """What speaks against ``path`` being the asset, as the end of a sentence; None when nothing does."""
    size = path.stat().st_size
    if asset.size is not None and size != asset.size:
        return f"has {size:,} bytes where the published file has {asset.size:,}"
    if reason := wrong_file(path):
        return reason
    expected = asset.sha256 or records.known(asset.name)
    digest = records.sha256(path, again=again) if hashing else records.remembered(path)
    if expected and digest and digest != expected:
        return f"is not the file that is expected (its sha256 is {digest[:12]}..., not {expected[:12]}...)"
    return None


def _by_name(asset: Asset, folders: Folders, index: Index) -> list[Path]:
    first = destination(asset, folders)
    named = index.named(asset.file)
    if asset.by_folder:
        tail = (*Path(asset.under).parts[-1:], asset.file)
        named = [p for p in named if p.parts[-2:] == tail]
    return sorted(named, key=lambda p: p.resolve() != first.resolve())
