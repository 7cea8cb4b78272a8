"""The folder of a worker on its node: where people and photos are for as long as a request of theirs is worked on.

It is emptied after every request, and goes with the worker however that ends: a process of its own outlives the worker
by a moment and removes the folder, and what a machine that lost its power has left is removed by the next worker there,
or when the head sees the node again.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from easyphoto import program
from easyphoto.config import Paths
from easyphoto.errors import StorageFailed
from easyphoto.storage import files, locks, scratch
from easyphoto.storage.folders import PersonFolder
from easyphoto.storage.scratch import Scratch

FOLDER = "EASYPHOTO_FLEET_FOLDER"
"""Environment variable of a node: the folder that its workers work in, instead of one among the temporary files."""
PREFIX = "worker-"
PATIENCE = 120.0
"""Seconds for which a trainer that lost its worker may go on until it has left."""
_WORK, _LORAS, _PICTURES = "outputs", "loras", "pictures"


def root() -> Path:
    """Where the folders of this node's workers lie; made if need be, for its user alone.

    Raises :class:`StorageFailed`, also when what lies there is another user's.
    """
    chosen = os.environ.get(FOLDER, "").strip()
    place = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"easyphoto-fleet-{getpass.getuser()}"
    try:
        place.mkdir(mode=0o700, parents=bool(chosen), exist_ok=True)
        found = place.lstat()
    except OSError as error:
        raise StorageFailed(
            "A folder could not be made in {parent}: {reason}.",
            parent=place.parent.name,
            reason=error.strerror or error,
        ) from error
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise StorageFailed(
            "{place} belongs to another user: name a folder in {variable}.", place=place, variable=FOLDER
        )
    return place


def sweep(place: Path) -> int:
    """Remove the folders whose workers are gone; how many. A trainer that is still leaving is waited for."""
    left = scratch.abandoned(place, PREFIX)
    for folder in left:
        remove(folder)
    scratch.sweep(place, PREFIX)
    return len(left)


def remove(folder: Path) -> None:
    """Remove the folder of a worker that is gone, once no trainer writes to it any more."""
    end = time.monotonic() + PATIENCE
    while _trained_in(folder) and time.monotonic() < end:
        time.sleep(0.2)
    scratch.discard(folder)


def _trained_in(folder: Path) -> bool:
    people = _paths_in(folder, Path()).people
    try:
        return any(locks.busy(PersonFolder(person).job) for person in people.iterdir())
    except OSError:
        return False


def _paths_in(folder: Path, models: Path) -> Paths:
    return Paths(
        outputs=folder / _WORK,
        models=models,
        loras=folder / _LORAS,
        templates=program.FILES / "templates",
        bench=program.FILES / "models" / "bench",
    )


class Lodging:
    """A worker's own folder in ``place``. ``models`` is where the node has its weights; LoRAs that lie there are
    found by the worker too."""

    def __init__(self, place: Path, models: Path) -> None:
        sweep(place)
        self._scratch = Scratch(place, PREFIX)
        self._warden = _watched(self._scratch.path)
        self.paths = _paths_in(self._scratch.path, models)
        self.pictures = self._scratch.path / _PICTURES
        self._shared = models / "Lora"
        self.empty()

    def empty(self) -> None:
        """Remove whatever is of a person. Raises :class:`StorageFailed` when something can't be removed."""
        try:
            for folder in (self.paths.outputs, self.paths.loras, self.pictures):
                files.remove(folder)
            self.paths.loras.mkdir(parents=True)
            for lora in sorted(self._shared.glob("*.safetensors")):
                (self.paths.loras / lora.name).symlink_to(lora)
        except OSError as error:
            raise StorageFailed(
                "What a request left on its node can't be removed: {reason}.", reason=error.strerror or error
            ) from error

    def close(self) -> None:
        """Remove the folder."""
        self._scratch.close()
        with contextlib.suppress(OSError):
            self._warden.close()


def _watched(folder: Path) -> IO[bytes]:
    """Start the process that removes ``folder`` when this one is gone, in whatever way; keep what is returned."""
    child = subprocess.Popen(
        [sys.executable, "-m", "easyphoto.fleet.janitor", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*program.import_path(), *_python_path()])},
        cwd=program.FILES,
        start_new_session=True,
    )
    assert child.stdin is not None
    child.wait()  # it leaves its own child behind, which no one's end takes along
    return child.stdin


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
