"""The clips that show a person, found by the JSON file beside each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from easyphoto.storage import files, listing, scratch

BEGUN = "about.json"
"""The file in the folder of a clip that is being made."""
SENT = ".sent-"
"""How the folder begins in which a clip that was sent lies until the queue has its copy."""


def workshop(folder: Path, job: str) -> Path:
    """Return the folder in which the job makes its clip."""
    return folder / f".{job}"


def begin(workshop: Path, user_ids: Sequence[str]) -> None:
    """Say in the folder of a clip that is being made whom it shows. Raises StorageFailed."""
    files.write_json(workshop / BEGUN, {"user_ids": list(user_ids)})


def publish(made: Path, video: Path, data: dict[str, Any]) -> Path:
    """Put a clip that is whole into its place, and beside it how it was made; return the file that tells it. Raises
    StorageFailed."""
    about = video.with_name(f"{video.name}.json")
    # What tells of the clip is there before the clip: nobody's face lies in a file that nobody knows of.
    files.write_json(about, data)
    try:
        files.remove(video)  # of this very request, which was cut off behind it
        made.replace(video)
    except OSError as error:
        raise files.not_written(video, error) from error
    return about


def sweep(folder: Path, jobs: Callable[[], Collection[str]]) -> None:
    """Remove what a job made of a clip that isn't among ``jobs`` any more, and what was sent to a program that has
    ended. ``jobs`` is asked for when it is known what was begun, as others begin meanwhile."""
    begun = _begun(folder)
    known = jobs() if begun else ()
    for about in begun:
        if about.parent.name[1:] not in known:
            shutil.rmtree(about.parent, ignore_errors=True)
    scratch.sweep(folder, SENT)


def of(folder: Path, user_id: str) -> list[Path]:
    """Return the files below ``folder`` that tell of a clip with the person, alone or with others; of one too that was
    begun and not ended."""
    found = [*sorted(folder.glob("*.json")), *_begun(folder)]
    return [path for path in found if user_id in _people_in(path)]


def files_of(about: Path) -> list[Path]:
    """Return every file of the clip that ``about`` tells of, the telling one too."""
    made = _made(about)
    inside = listing.below(made) if made.is_dir() else [made]
    return [*(path for path in inside if path.is_file() and path != about), about]


def remove(about: Path) -> None:
    """Remove a clip and what tells of it. Raises OSError."""
    files.remove(_made(about))
    about.unlink(missing_ok=True)


def _begun(folder: Path) -> list[Path]:
    """What tells of the clips that are being made; a clip that was sent may have any name."""
    return [path for path in sorted(folder.glob(f".*/{BEGUN}")) if not path.parent.name.startswith(SENT)]


def _made(about: Path) -> Path:
    return about.parent if about.name == BEGUN else about.with_name(about.name.removesuffix(".json"))


def _people_in(path: Path) -> tuple[str, ...]:
    try:
        names = files.read_json(path).get("user_ids")
    except (OSError, ValueError, AttributeError):  # any file may lie there
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
