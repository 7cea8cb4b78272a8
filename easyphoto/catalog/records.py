"""A small file beside the weights, with the checksums of files that were hashed and of assets as they were first
downloaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from easyphoto.errors import Cancelled, StorageFailed
from easyphoto.storage import files

NAME = "weights.json"
CHUNK = 1 << 20


class Records:
    """The checksums that are recorded. ``known`` gives an asset's sha256 as it was first downloaded. The hashes of
    files are kept by path, size and time of change."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        self._data: dict[str, dict[str, Any]] = {"known": {}, "files": {}}
        with contextlib.suppress(OSError, ValueError):
            loaded = json.loads(self.path.read_text(encoding="utf-8"))
            self._data = {k: dict(loaded.get(k, {})) for k in self._data}

    def known(self, asset: str) -> str | None:
        """Return the sha256 of an asset as it was first downloaded here."""
        entry = self._data["known"].get(asset)
        return str(entry["sha256"]) if isinstance(entry, dict) and "sha256" in entry else None

    def learn(self, asset: str, sha256: str, size: int, url: str) -> None:
        """Keep the checksum of a first download. A later file with another checksum is not that asset."""
        with self._lock:
            self._data["known"].setdefault(asset, {"sha256": sha256, "bytes": size, "from": url})

    def remembered(self, path: Path) -> str | None:
        """Return the sha256 of a file that was hashed before and has not changed since."""
        entry = self._data["files"].get(str(path))
        return str(entry["sha256"]) if isinstance(entry, dict) and entry.get("stamp") == _stamp(path) else None

    def remember(self, path: Path, sha256: str) -> None:
        with self._lock:
            self._data["files"][str(path)] = {"sha256": sha256, "stamp": _stamp(path)}

    def sha256(self, path: Path, *, again: bool = False, cancelled: Callable[[], bool] | None = None) -> str:
        """Return the sha256 of a file: the remembered one, or else one that is computed (with ``again`` in any case)
        and then remembered."""
        found = None if again else self.remembered(path)
        if found is None:
            found = sha256_of(path, cancelled)
            self.remember(path, found)
        return found

    def save(self) -> None:
        """Write the record, whole or not at all. What another process recorded meanwhile is kept."""
        with self._lock:
            merged = Records(self.path.parent)._data
            for part, entries in self._data.items():
                merged[part] = merged[part] | entries if part == "files" else entries | merged[part]
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                beside = files.staging_name(self.path)
                beside.write_text(json.dumps(merged, indent=1, ensure_ascii=False, sort_keys=True), encoding="utf-8")
                files.replace(beside, self.path)
            except OSError as error:
                raise StorageFailed(
                    "The record of weights {path} can't be written ({error}).", path=self.path, error=error
                ) from error


def sha256_of(path: Path, cancelled: Callable[[], bool] | None = None) -> str:
    """Return the sha256 of a file, which is read in pieces. Raises Cancelled between two of them when asked to."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            if cancelled is not None and cancelled():
                raise Cancelled("Checking the weights was stopped.")
            digest.update(piece)
    return digest.hexdigest()


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
