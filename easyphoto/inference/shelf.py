"""Where portraits are put: one that can't be written fails alone, and nothing is rendered that can't be kept."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from easyphoto import pictures
from easyphoto.errors import StorageFailed, reason
from easyphoto.filenames import shown
from easyphoto.inference import recipe
from easyphoto.ports import Portrait

FIRST_PROBE = 1 << 16
"""Bytes that must fit before the first portrait."""


class Shelf:
    """The folder of a job's portraits; None keeps them in memory alone."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._probe = FIRST_PROBE

    def check(self) -> None:
        """Raise :class:`StorageFailed` when the folder can't be written to: at the beginning, and for as long as a
        portrait could not be saved. What is rendered then would be lost."""
        if self._folder is None or not self._probe:
            return
        probe = self._folder / f".{uuid.uuid4().hex}.probe"
        try:
            pictures.write_bytes(probe, bytes(self._probe))
        except StorageFailed as error:
            why = reason(error.__cause__ or error)
            raise StorageFailed(
                "Portraits can't be written to {shown}: {why}.", shown=shown(self._folder.name), why=why
            ) from error
        with suppress(OSError):
            probe.unlink()
        self._probe = 0

    def put(self, portrait: Portrait) -> Portrait:
        """The portrait with the path at which it is saved. Raises :class:`StorageFailed`."""
        if self._folder is None:
            return portrait
        self._probe = portrait.image.nbytes  # for the next, should this fail
        path = recipe.save(portrait, self._folder)
        self._probe = 0
        return replace(portrait, path=path)
