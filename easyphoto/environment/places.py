"""Where environments lie, and which of them counts.

Every making has a place of its own, ``.environment`` or ``.environment.<8 hex digits>`` beside it, and becomes the
environment in one instant, when its stamp is put there. Until then the one before serves; what a process is running in
is never moved or changed. What was broken off or replaced is swept away later.
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
from easyphoto.environment.packages import requirements_of
from easyphoto.exclusive import exclusive
from easyphoto.messages import Message

FOLDER = program.ROOT / ".environment"
STAMP = "environment.json"
HOW = "the first training or portrait makes it, in some minutes, and so does `python install.py` with the host's Python"
KEPT_FOR = 24 * 3600.0
"""Seconds for which a replaced environment is kept: something that runs in it may still want a module of it."""


@dataclass(frozen=True)
class EnvironmentStatus:
    """Whether the environment can be used; if not, ``sentence`` says why and what to do."""

    ready: bool
    sentence: str
    python: Path | None = None
    packages: str = ""


@dataclass(frozen=True)
class Stamp:
    """Written last, so that what was broken off is never taken for whole."""

    packages: str
    requirements: tuple[str, ...]
    python: tuple[int, ...]
    torch: str
    host: str
    made: int = 0
    """Counts the makings: of two whole environments the later one counts."""

    def fits(self, python: tuple[int, ...], torch: str | None) -> bool:
        """Whether it is for a host of that Python and torch (None: any) and of this version of EasyPhoto."""
        same = tuple(self.python) == tuple(python) and torch in (None, self.torch)
        return same and self.requirements == requirements_of(self.packages)


def interpreter(folder: Path = FOLDER) -> Path:
    """Where the environment's Python lies, whether it is there or not."""
    return python_in(current(folder) or folder)


def status(folder: Path = FOLDER, torch: str | None = None) -> EnvironmentStatus:
    """Whether the environment is there, whole, and fits. ``torch`` is the version that the host has now, if known.

    Costs a look at a few files; runs nothing.
    """
    return status_for(folder, sys.version_info[:2], torch)


def status_for(folder: Path, python: tuple[int, ...], torch: str | None) -> EnvironmentStatus:
    """The same for a host of another Python."""
    place = current(folder, python, torch)
    stamp = None if place is None else read_stamp(place)
    if place is None or stamp is None:
        return EnvironmentStatus(False, Message("EasyPhoto's own environment isn't made yet: " + HOW + "."))
    if stamp.fits(python, torch):
        return EnvironmentStatus(
            True,
            Message("EasyPhoto's own environment is ready ({packages}).", packages=stamp.packages),
            python_in(place),
            stamp.packages,
        )
    if stamp.python != tuple(python) or (torch is not None and stamp.torch != torch):
        version = ".".join(map(str, stamp.python))
        had = Message("Python {version} and torch {torch}", version=version, torch=stamp.torch)
        return EnvironmentStatus(
            False,
            Message("EasyPhoto's own environment was made for {had}, and the host has changed: " + HOW + ".", had=had),
        )
    return EnvironmentStatus(False, Message("EasyPhoto's own environment is of an older version: " + HOW + "."))


def installed(package: str, folder: Path = FOLDER) -> str | None:
    """The version of a package where trainings run: in our environment, else in this Python; None when it is in
    neither."""
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
    """Where an environment was made, or begun."""
    named = re.compile(re.escape(folder.name) + r"\.[0-9a-f]{8}")
    try:
        beside = sorted(p for p in folder.parent.iterdir() if named.fullmatch(p.name))
    except OSError:
        beside = []
    return [*([folder] if os.path.lexists(folder) else []), *beside]


def current(folder: Path, python: tuple[int, ...] | None = None, torch: str | None = None) -> Path | None:
    """The place of the environment that counts: the last that is whole, and of those that fit the host if any does."""
    whole = [(stamp, p) for p in found(folder) if (stamp := read_stamp(p)) and python_in(p).exists()]
    fitting = [(stamp, p) for stamp, p in whole if python is not None and stamp.fits(python, torch)]
    return max(fitting or whole, key=lambda one: one[0].made, default=(None, None))[1]


def python_in(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def lock(folder: Path) -> Path:
    """The file that whoever makes or sweeps holds."""
    return folder.with_name(f"{folder.name}.lock")


def sweep(folder: Path, keep: Path | None, old: bool = True) -> None:
    """Remove what was broken off and, with ``old``, what was replaced. Only for whoever holds the :func:`lock`."""
    for place in found(folder):
        if place != keep and (old or read_stamp(place) is None):
            # without a stamp first: what can't be removed whole must not count as whole
            with contextlib.suppress(OSError):
                (place / STAMP).unlink(missing_ok=True)
                shutil.rmtree(place)


def sweep_when_idle(folder: Path) -> None:
    """Sweep if there is anything to and nobody is making one: never worth waiting for, nor a failure."""
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
    """Make what lies in ``place`` the environment, in one instant."""
    draft = place / f"{STAMP}.new"
    draft.write_text(json.dumps(asdict(stamp), indent=1), encoding="utf-8")
    draft.replace(place / STAMP)
