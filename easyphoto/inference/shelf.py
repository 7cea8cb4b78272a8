"""Where portraits are saved. A portrait that can't be written fails alone, and nothing is rendered that couldn't be
saved."""

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
"""How many bytes must fit into the folder before the first portrait is made."""


LOSERS = "losers"
"""The folder, beside the portraits, of those that were tried and weren't the best."""


class Shelf:
    """The folder of a job's portraits. Without a folder they are kept in memory alone."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._probe = FIRST_PROBE

    def check(self) -> None:
        """Raise :class:`StorageFailed` when the folder can't be written to, since whatever is rendered then would be
        lost. The folder is tried at the beginning, and again for as long as the last portrait couldn't be saved."""
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

    def put_aside(self, portrait: Portrait) -> None:
        """Save a portrait that wasn't the best in a folder of its own. Raises as :meth:`put`."""
        if self._folder is not None:
            recipe.save(portrait, self._folder / LOSERS)

    def put(self, portrait: Portrait) -> Portrait:
        """Save the portrait and return it with its path. Raises :class:`StorageFailed` when it can't be written."""
        if self._folder is None:
            return portrait
        self._probe = portrait.image.nbytes  # what the next check asks for, should this fail
        path = recipe.save(portrait, self._folder)
        self._probe = 0
        return replace(portrait, path=path)
