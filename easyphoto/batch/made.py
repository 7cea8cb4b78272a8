"""The portraits of a batch on the disk: found again by the key of their recipe, whatever they are called and wherever
they lie below the folders that are looked through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from easyphoto.batch.pieces import SHORT, Piece, key_of
from easyphoto.filenames import NAME_BYTES, safe
from easyphoto.storage import files, listing, portraits

_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
"""The last bytes of every whole PNG."""


class MadePortraits:
    """Portraits that are there. ``folder`` is the batch's own; ``elsewhere`` is looked through too, and what lies there
    gets a second name in the batch's folder, or is copied, and stays where it is, unless it was made by one of the jobs
    ``mine``, for this very batch: then it is moved."""

    def __init__(self, folder: Path, elsewhere: Sequence[Path] = (), mine: Sequence[str] = ()) -> None:
        self._folder = folder
        self._elsewhere = elsewhere
        self._mine = frozenset(mine)
        self._known: dict[str, Path] | None = None

    def place(self, piece: Piece) -> Path:
        """Where the portrait belongs."""
        return self._folder / f"{piece.name}.png"

    def find(self, piece: Piece) -> Path | None:
        """Where the portrait lies, in its place or elsewhere; None where it isn't made yet."""
        place = self.place(piece)
        if _key_at(place) == piece.key:
            return place
        found = self._scanned().get(piece.key)
        return None if found is None or _key_at(found) != piece.key else found

    def there(self, piece: Piece) -> Path | None:
        """The portrait, brought to its place; None where it isn't made yet. Raises :class:`StorageFailed`."""
        place, found = self.place(piece), self.find(piece)
        if found is not None and found != place:
            self._put(found, piece, keep=found.parent != self._folder and not self._is_mine(found))
        return None if found is None else place

    def _is_mine(self, path: Path) -> bool:
        recipe = portraits.recipe_in(path) if self._mine else None
        return recipe is not None and recipe.get("job") in self._mine

    def put(self, made: Path, piece: Piece) -> Path:
        """Move a portrait that was made just now to its place. Raises :class:`StorageFailed`."""
        self._put(made, piece, keep=False)
        return self.place(piece)

    def _put(self, source: Path, piece: Piece, *, keep: bool) -> None:
        place = self.place(piece)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._clear(place)
            if keep:
                files.link(source, place)
            else:
                files.move(source, place)
        except OSError as error:
            raise files.not_written(place, error) from error
        self._scanned()[piece.key] = place

    def _clear(self, place: Path) -> None:
        """Move what has the name of a portrait aside: an earlier one stays, with a part of its key in its name."""
        if not os.path.lexists(place):
            return
        key = _key_at(place) or ""
        stem, number = f"{place.stem}-{key[:SHORT] or 'earlier'}", 1
        aside = place.with_name(f"{safe(stem, NAME_BYTES)}.png")
        while os.path.lexists(aside):
            number += 1
            aside = place.with_name(f"{safe(stem, NAME_BYTES)}-{number}.png")
        place.rename(aside)
        if key:
            self._scanned()[key] = aside

    def _scanned(self) -> dict[str, Path]:
        """Key -> file of all portraits, the batch's own before others."""
        if self._known is None:
            self._known = {}
            for folder in (*self._elsewhere, self._folder):
                for path in listing.below(folder, "*.png"):
                    key = _key_at(path)
                    if key is not None:
                        self._known[key] = path
        return self._known


def _key_at(path: Path) -> str | None:
    """The key of the whole portrait in a file; None for anything else."""
    recipe = portraits.recipe_in(path)
    if recipe is None:
        return None
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            if file.read() != _END:
                return None
    except OSError:
        return None
    return key_of(recipe)
