"""Opens a folder in the system's file manager, for a browser on the machine that the program runs on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from easyphoto.errors import AssetMissing, InvalidRequest, NotFound
from easyphoto.loopback import is_loopback

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "cf-connecting-ip")
"""Headers by which a proxy or a tunnel says that a request comes from elsewhere."""


def is_here(request: Any) -> bool:
    """Return whether the browser of a request runs on this machine: it calls this machine by its loopback address, and
    nobody passed the request on. If that can't be told, it does not."""
    headers = {str(name).lower(): str(value) for name, value in dict(getattr(request, "headers", None) or {}).items()}
    client = str(getattr(getattr(request, "client", None), "host", None) or "")
    called = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    return is_loopback(client) and is_loopback(called.strip("[]")) and not any(name in headers for name in FORWARDED)


def opener() -> Callable[[Path], object] | None:
    """Return what opens a folder on this system, or None where there is no file manager, as on a server."""
    start: Callable[[Path], object] | None = getattr(os, "startfile", None)
    if start is not None:
        return start
    if sys.platform == "darwin":
        return partial(_started, "open")
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return partial(_started, "xdg-open") if desktop and shutil.which("xdg-open") else None


def can_open(request: Any) -> bool:
    """Return whether :func:`open_folder` would do what the reader of a page expects."""
    return is_here(request) and opener() is not None


def open_folder(folder: Path, within: Path, request: Any) -> None:
    """Open ``folder``, which lies in the folder ``within`` of the program.

    Raises :class:`InvalidRequest` if it lies elsewhere or the browser runs elsewhere, :class:`NotFound` if it is gone,
    and :class:`AssetMissing` where nothing can open it.
    """
    if not is_here(request):
        raise InvalidRequest("The folder lies on another machine than your browser: copy its path.")
    place, root = folder.resolve(), within.resolve()
    if place != root and root not in place.parents:
        raise InvalidRequest("{folder} is no folder of EasyPhoto.", folder=folder)
    if not place.is_dir():
        raise NotFound("There is no folder {folder} any more.", folder=folder)
    start = opener()
    if start is None:
        raise AssetMissing("There is no file manager on this machine: copy the folder's path.")
    start(place)


def _started(program: str, folder: Path) -> None:
    """Start a program with the folder and leave it to itself."""
    run = partial(
        subprocess.run,
        [program, str(folder)],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    threading.Thread(target=run, name="file-manager", daemon=True).start()
