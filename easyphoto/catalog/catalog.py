"""The catalog: which weights there are, what a feature needs, and the one way to get it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from easyphoto.catalog.assets import DATA, Asset, Bundle, read
from easyphoto.catalog.download_plan import DownloadPlan, FileVerdict, Present
from easyphoto.catalog.locate import Index, against, destination, find, named, shown
from easyphoto.catalog.model_folders import PLAIN, Folders
from easyphoto.catalog.part import begun
from easyphoto.catalog.records import Records
from easyphoto.errors import AssetMissing, NotFound, StorageFailed
from easyphoto.events import Event, Listener
from easyphoto.messages import Message

if TYPE_CHECKING:
    from easyphoto.catalog.fetching import Options


def _silent(event: Event) -> None:
    """A listener that drops every event."""


def _never() -> bool:
    return False


class Catalog:
    """Assets and bundles by name. It holds no state of a host: folders come with every call."""

    def __init__(self, assets: dict[str, Asset], bundles: dict[str, Bundle]) -> None:
        self.assets = assets
        self.bundles = bundles

    @classmethod
    def load(cls, path: Path = DATA) -> Catalog:
        """Return the catalog of a data file; that of the package if none is given."""
        return cls(*read(path))

    @property
    def offered(self) -> dict[str, Bundle]:
        """The bundles that something in the program uses."""
        return {name: bundle for name, bundle in self.bundles.items() if not bundle.planned}

    def require_offered(self, names: Iterable[str]) -> None:
        """Raise NotFound for a bundle that nothing uses yet, and for an asset that only such bundles have."""
        for name in names:
            holders = [b for b in self.bundles.values() if name in (b.name, *b.assets)]
            if holders and all(bundle.planned for bundle in holders):
                raise NotFound(
                    "Nothing uses the weights of {name} yet; there are {known}.",
                    name=name,
                    known=", ".join(self.offered),
                )

    def select(self, names: Iterable[str], *, commercial_only: bool = False) -> tuple[list[Asset], list[Asset]]:
        """Return the assets of the bundles, or assets, of these names, each once, and those that were left out because
        only commercial use is allowed and nothing may take their place. Raises NotFound for an unknown name."""
        chosen: dict[str, Asset] = {}
        left_out: dict[str, Asset] = {}
        for name in names:
            for asset in self._named(name):
                if commercial_only and not asset.commercial:
                    if asset.instead is None:
                        left_out[asset.name] = asset
                        continue
                    asset = self.assets[asset.instead]  # noqa: PLW2901
                chosen[asset.name] = asset
        return list(chosen.values()), list(left_out.values())

    def plan(
        self, names: str | Iterable[str], folders: Folders, *, commercial_only: bool = False, hashing: bool = True
    ) -> DownloadPlan:
        """Return which of the assets of the bundles (or assets) are there, and what the others cost. The network is
        never used.

        Files are found anywhere in ``folders`` by name, and under another name by checksum. ``hashing`` says whether to
        compute checksums that are not remembered from an earlier look, which takes seconds for each gigabyte, once.
        """
        names = (names,) if isinstance(names, str) else tuple(names)
        assets, left_out = self.select(names, commercial_only=commercial_only)
        index, records = Index(folders), Records(folders.root)
        present: list[Present] = []
        missing: list[Asset] = []
        unusable: list[FileVerdict] = []
        for asset in assets:
            found, wrong = find(asset, folders, index, records, hashing=hashing)
            unusable += wrong
            if found:
                present.append(found)
            else:
                missing.append(asset)
        if hashing and (present or unusable):
            records.save()
        there = sum(min(begun(destination(asset, folders)), asset.bytes) for asset in missing)
        return DownloadPlan(names, tuple(present), tuple(missing), tuple(unusable), tuple(left_out), there)

    def fetch(
        self,
        names: str | Iterable[str],
        folders: Folders,
        *,
        commercial_only: bool = False,
        offline: bool | None = None,
        listener: Listener = _silent,
        cancelled: Callable[[], bool] = _never,
        options: Options | None = None,
    ) -> DownloadPlan:
        """Download what is missing and return the plan after it, in which nothing is missing but optional files.

        ``offline`` says whether to stay off the network (None: as the environment says). Raises AssetMissing with one
        sentence for each file that could not be had, StorageFailed when a disk is full, and Cancelled. Whatever
        happens, a file under its final name is whole, and what came of the others is kept for the next time.
        """
        from easyphoto.catalog import fetching

        names = (names,) if isinstance(names, str) else tuple(names)
        self.require_offered(names)
        again = partial(self.plan, names, folders, commercial_only=commercial_only)
        plan = again()
        if not plan.missing:
            return plan
        if fetching.offline() if offline is None else offline:
            raise AssetMissing(missing_sentence(plan, folders))
        with fetching.alone(folders.root, listener, cancelled):
            plan = again()
            fetching.check_room(plan.missing, folders)
            fetching.fetch(
                plan.missing,
                folders,
                Records(folders.root),
                options or fetching.Options(),
                listener=listener,
                cancelled=cancelled,
            )
        return again()

    def verify(self, folders: Folders, names: Iterable[str] | None = None) -> list[FileVerdict]:
        """Read every file again that lies under the name of an asset, and compare it with what is expected."""
        assets = self.select(names)[0] if names is not None else list(self.assets.values())
        index, records = Index(folders), Records(folders.root)
        verdicts: list[FileVerdict] = []
        for asset in assets:
            paths = named(asset, folders, index)
            verdicts += [FileVerdict(asset, p, against(asset, p, records, again=True)) for p in paths]
        if verdicts:
            records.save()
        return verdicts

    def path(self, name: str, folders: Folders, *, hashing: bool = False) -> Path | None:
        """Return the whole file of an asset, or None. Without ``hashing`` this is cheap, and it trusts names, sizes,
        structure and remembered checksums; with it, a file that was never hashed is read once."""
        look = Look(self, folders)
        path = look.path(name, hashing=hashing)
        if hashing and path is not None:
            with contextlib.suppress(StorageFailed):  # a models folder may well be read-only
                look.records.save()
        return path

    def _named(self, name: str) -> list[Asset]:
        if name in self.bundles:
            return [self.assets[a] for a in self.bundles[name].assets]
        if name in self.assets:
            return [self.assets[name]]
        raise NotFound("There is no bundle {name}; there are {known}.", name=name, known=", ".join(self.offered))


class Look:
    """One look through the folders for any number of assets. The folders are walked once, and only if a file is not
    where its download would be. A look knows nothing of what comes or goes later: make another one for the next
    question."""

    def __init__(self, catalog: Catalog, folders: Folders) -> None:
        self._catalog = catalog
        self._folders = folders

    @cached_property
    def records(self) -> Records:
        return Records(self._folders.root)

    @cached_property
    def _index(self) -> Index:
        return Index(self._folders)

    def path(self, name: str, *, hashing: bool = False) -> Path | None:
        """Return what :meth:`Catalog.path` returns, but write no new checksums down."""
        asset = self._catalog.assets[name]
        place = destination(asset, self._folders)
        if place.is_file() and against(asset, place, self.records, hashing=hashing) is None:
            return place
        if asset.folder in PLAIN:
            return None
        found, _ = find(asset, self._folders, self._index, self.records, hashing=hashing)
        return found.path if found else None


def missing_sentence(plan: DownloadPlan, folders: Folders) -> str:
    """Return a sentence that says what is missing and where it would have to lie, for somebody who may not use the
    network."""
    places = ", ".join(f"{a.file} in {shown(destination(a, folders).parent, folders)}" for a in plan.missing)
    return Message("Offline, and {count} files are missing: {places}.", count=len(plan.missing), places=places)
