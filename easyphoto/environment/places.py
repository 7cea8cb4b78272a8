"""Where environments lie, and which of them is used.

Each environment is made in a place of its own: ``.environment``, or ``.environment.<8 hex digits>`` beside it. It
becomes the one in use in one instant, when its stamp is written. Until then the previous one is used. The folder in
which a process is running is never moved or changed. Unfinished and replaced environments are removed later.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from easyphoto import program
from easyphoto.environment.exclusive import exclusive
from easyphoto.environment.packages import requirements_of
from easyphoto.messages import Message

FOLDER = program.ROOT / ".environment"
STAMP = "environment.json"
HOW = (
    "the first training or portrait makes it, in some minutes, and so does `python install.py` with the WebUI's Python"
)
KEPT_FOR = 24 * 3600.0
"""Seconds for which a replaced environment is kept, because a process that runs in it may still import one of its
modules."""


@dataclass(frozen=True)
class Status:
    """Whether the environment can be used. If it can't, ``sentence`` says why and what to do."""

    ready: bool
    sentence: str
    python: Path | None = None
    packages: str = ""


@dataclass(frozen=True)
class Stamp:
    """The record that is written last, so that an unfinished environment is never taken for a complete one."""

    packages: str
    requirements: tuple[str, ...]
    python: tuple[int, ...]
    torch: str
    host: str
    made: int = 0
    """A number that grows with each making: of two complete environments, the one with the higher number is used."""

    def fits(self, python: tuple[int, ...], torch: str | None) -> bool:
        """Return whether the environment suits this version of EasyPhoto and a host with that Python and torch (None:
        any torch)."""
        same = tuple(self.python) == tuple(python) and torch in (None, self.torch)
        return same and self.requirements == requirements_of(self.packages)


def interpreter(folder: Path = FOLDER) -> Path:
    """Return the path of the environment's Python, whether or not the file is there."""
    return python_in(current(folder) or folder)


def status(folder: Path = FOLDER, torch: str | None = None) -> Status:
    """Return whether the environment is there, complete, and suits the host. ``torch`` is the host's version, if it is
    known.

    This reads a few files and runs nothing.
    """
    return status_for(folder, sys.version_info[:2], torch)


def status_for(folder: Path, python: tuple[int, ...], torch: str | None) -> Status:
    """Return the same for a host with another Python."""
    place = current(folder, python, torch)
    stamp = None if place is None else read_stamp(place)
    if place is None or stamp is None:
        return Status(False, Message("EasyPhoto's own environment isn't made yet: " + HOW + "."))
    if stamp.fits(python, torch):
        return Status(
            True,
            Message("EasyPhoto's own environment is ready ({packages}).", packages=stamp.packages),
            python_in(place),
            stamp.packages,
        )
    if stamp.python != tuple(python) or (torch is not None and stamp.torch != torch):
        version = ".".join(map(str, stamp.python))
        had = Message("Python {version} and torch {torch}", version=version, torch=stamp.torch)
        return Status(
            False,
            Message("EasyPhoto's own environment was made for {had}, and the host has changed: " + HOW + ".", had=had),
        )
    return Status(False, Message("EasyPhoto's own environment is of an older version: " + HOW + "."))


def installed(package: str, folder: Path = FOLDER) -> str | None:
    """Return the version of a package where trainings run: in our environment, or else in this Python; None if neither
    has it."""
    place = current(folder, sys.version_info[:2]) or folder
    own = [str(p) for p in (*place.glob("lib/python*/site-packages"), *place.glob("Lib/site-packages"))]
    if own and status(folder).ready:
        for distribution in importlib.metadata.distributions(name=package, path=own):
            return distribution.version
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def found(folder: Path) -> list[Path]:
    """Return the folders in which an environment was made, or begun."""
    named = re.compile(re.escape(folder.name) + r"\.[0-9a-f]{8}")
    try:
        beside = sorted(p for p in folder.parent.iterdir() if named.fullmatch(p.name))
    except OSError:
        beside = []
    return [*([folder] if os.path.lexists(folder) else []), *beside]


def current(folder: Path, python: tuple[int, ...] | None = None, torch: str | None = None) -> Path | None:
    """Return the folder of the environment in use: the last complete one among those that suit the host, or among all
    if none does."""
    whole = [(stamp, p) for p in found(folder) if (stamp := read_stamp(p)) and python_in(p).exists()]
    fitting = [(stamp, p) for stamp, p in whole if python is not None and stamp.fits(python, torch)]
    return max(fitting or whole, key=lambda one: one[0].made, default=(None, None))[1]


def python_in(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def lock(folder: Path) -> Path:
    """Return the file that a process locks while it makes or sweeps environments."""
    return folder.with_name(f"{folder.name}.lock")


def sweep(folder: Path, keep: Path | None, old: bool = True) -> None:
    """Remove unfinished environments and, with ``old``, replaced ones. Only the holder of the :func:`lock` may call
    this."""
    for place in found(folder):
        if place != keep and (old or read_stamp(place) is None):
            # the stamp goes first: an environment that can be removed only in part must not count as complete
            with contextlib.suppress(OSError):
                (place / STAMP).unlink(missing_ok=True)
                shutil.rmtree(place)


def sweep_when_idle(folder: Path) -> None:
    """Sweep if there is something to sweep and nobody is making an environment. This neither waits nor fails."""
    serving = current(folder, sys.version_info[:2])
    if serving is None or len(found(folder)) < 2:
        return
    with contextlib.suppress(OSError), exclusive(lock(folder), lambda: None, limit=0.0):
        sweep(folder, serving, old=time.time() - (serving / STAMP).stat().st_mtime > KEPT_FOR)


def read_stamp(folder: Path) -> Stamp | None:
    try:
        data: dict[str, Any] = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        return Stamp(
            data["packages"],
            tuple(data["requirements"]),
            tuple(data["python"]),
            data["torch"],
            data["host"],
            int(data.get("made", 0)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stamp(place: Path, stamp: Stamp) -> None:
    """Make the environment in ``place`` the one in use, in one instant."""
    draft = place / f"{STAMP}.new"
    draft.write_text(json.dumps(asdict(stamp), indent=1), encoding="utf-8")
    draft.replace(place / STAMP)
