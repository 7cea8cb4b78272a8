"""The clips that show a person, found by the JSON file beside each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from easyphoto.storage.files import write_bytes

BEGUN = "about.json"
"""The file in the folder of a clip that is being made."""


def about_of(video: Path) -> Path:
    """Return where it is told how a clip was made."""
    return video.with_name(f"{video.name}.json")


def write_about(video: Path, data: dict[str, Any]) -> Path:
    """Write how a clip was made, whole or not at all, and return the file. Raises StorageFailed."""
    path = about_of(video)
    write_bytes(path, json.dumps(data, ensure_ascii=False, indent=1).encode())
    return path


def begin(folder: Path, user_ids: Sequence[str]) -> None:
    """Say in the folder of a clip that is being made whom it shows. Raises StorageFailed."""
    write_bytes(folder / BEGUN, json.dumps({"user_ids": list(user_ids)}, ensure_ascii=False).encode())


def sweep(folder: Path, jobs: Collection[str]) -> None:
    """Remove the frames of every clip that was begun by a job which isn't among ``jobs`` any more."""
    for about in folder.glob(f".*/{BEGUN}"):
        if about.parent.name[1:] not in jobs:
            shutil.rmtree(about.parent, ignore_errors=True)


def of(folder: Path, user_id: str) -> list[Path]:
    """Return the files below ``folder`` that tell of a clip with the person, alone or with others; of one too that was
    begun and not ended."""
    found = [*sorted(folder.glob("*.json")), *sorted(folder.glob(f".*/{BEGUN}"))]
    return [path for path in found if user_id in _people_in(path)]


def files_of(about: Path) -> list[Path]:
    """Return every file of the clip that ``about`` tells of, the telling one too."""
    made = _made(about)
    inside = sorted(made.iterdir()) if made.is_dir() else [made] if made.is_file() else []
    return inside if about in inside else [*inside, about]


def remove(about: Path) -> None:
    """Remove a clip and what tells of it. Raises OSError."""
    made = _made(about)
    if made.is_dir():
        shutil.rmtree(made)
    else:
        made.unlink(missing_ok=True)
    about.unlink(missing_ok=True)


def _made(about: Path) -> Path:
    return about.parent if about.name == BEGUN else about.with_name(about.name.removesuffix(".json"))


def _people_in(path: Path) -> tuple[str, ...]:
    try:
        names = json.loads(path.read_bytes()).get("user_ids")
    except (OSError, ValueError, AttributeError, RecursionError):  # any file may lie there
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
