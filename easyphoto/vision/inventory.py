"""Which weights of the catalog are here. They are found for the backends that need them, and none is opened."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from easyphoto.catalog import Catalog, Folders, Look
from easyphoto.errors import AssetMissing
from easyphoto.messages import Message


def find(models: Path, name: str) -> Path:
    """The file of an asset of the catalog, wherever it lies below the models folder. Its checksum is compared the first
    time. Raises :class:`AssetMissing`, which says how to get the file."""
    catalog = Catalog.load()
    path = catalog.path(name, Folders.under(models), hashing=True)
    if path is None:
        bundle = next((b.name for b in catalog.offered.values() if name in b.assets), name)
        file = catalog.assets[name].file
        raise AssetMissing(
            "The weights {file} are missing; `python -m easyphoto models fetch {bundle}` gets them.",
            file=file,
            bundle=bundle,
        )
    return path


class Inventory:
    """What of the catalog lies below a models folder. The folder is looked through once, however many assets are asked
    for."""

    def __init__(self, models: Path) -> None:
        self._models = models

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog.load()

    @cached_property
    def _look(self) -> Look:
        return Look(self._catalog, Folders.under(self._models))

    def lacking(self, names: Iterable[str]) -> list[str]:
        """The files of the assets that are not there, in words."""
        return [
            Message("the file {file}", file=self._catalog.assets[n].file) for n in names if self._look.path(n) is None
        ]
