"""Files that are made for a browser to download: they lie in a temporary folder while the page's program runs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import uuid
import weakref
from pathlib import Path

from easyphoto.filenames import safe

KEPT = 3600.0
"""For how many seconds a file can be downloaded at least."""


class SharedFiles:
    """A temporary folder for files to download, which is removed with this object. Each file has a folder of its own,
    so that it can have the name that the user is to see."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="easyphoto-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def new(self, name: str) -> Path:
        """Return the path for a new file of that name. Files of an hour ago are removed: nobody downloads them any
        more."""
        for old in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > KEPT:
                    shutil.rmtree(old, ignore_errors=True)
        place = self._folder / uuid.uuid4().hex
        place.mkdir()
        return place / safe(name)
