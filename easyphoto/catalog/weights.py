"""The weights of this program: what each feature needs, what is there, what a licence leaves out, and how to get the
rest.

The catalog knows of files. Here it meets the folders, the queue and the choices of the program around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from easyphoto.catalog.assets import Asset, Bundle
from easyphoto.catalog.catalog import Catalog
from easyphoto.catalog.download_plan import DownloadPlan, size
from easyphoto.catalog.model_folders import Folders
from easyphoto.errors import InvalidRequest
from easyphoto.events import Finished, Listener, Progress
from easyphoto.jobs import NETWORK, Job, JobQueue
from easyphoto.ports import Vision
from easyphoto.queue.durable import queued
from easyphoto.queue.port import DurableRequest, Order

MODELS = "models"
"""The kind of the jobs that download."""


@dataclass(frozen=True)
class Entry:
    """One asset of a feature. ``state`` is "there", "missing", "unusable" (there is a file of that name that is not the
    asset; ``note`` says why) or "left out" because of the licence. ``file`` is the file that is there, else the one
    that would be downloaded. ``found_by`` is "name" or "hash"."""

    asset: Asset
    state: Literal["there", "missing", "unusable", "left out"]
    file: str
    found_by: str = ""
    note: str = ""


@dataclass(frozen=True)
class Needs:
    """What a feature needs. ``bytes`` are still to be downloaded; ``exact`` is true when all sizes are publicly
    known."""

    bundle: Bundle
    entries: tuple[Entry, ...]
    bytes: int
    exact: bool

    @property
    def missing(self) -> tuple[Entry, ...]:
        """The entries that a download would bring."""
        return tuple(e for e in self.entries if e.state in ("missing", "unusable"))

    @property
    def commercial(self) -> bool:
        """Whether every file may be used commercially."""
        return all(e.asset.commercial for e in self.entries if e.state != "left out")

    @property
    def complete(self) -> bool:
        """Whether the feature has everything that it can't do without."""
        return all(e.asset.optional for e in self.missing)


@dataclass(frozen=True)
class Serving:
    """A role of vision, the ``name`` of the backend that serves it, and the better backends that the licence
    excludes."""

    role: str
    name: str
    left_out: tuple[str, ...] = ()


class Ranked(Protocol):
    """One of the backends that can serve a role of vision, as far as its licence goes."""

    @property
    def name(self) -> str: ...
    @property
    def commercial(self) -> bool:
        """Whether it may be used commercially."""
        ...


class Weights:
    """The bundles of the catalog in the folders of one host.

    ``commercial_only`` is asked at each call, and ``fetched`` is called when files came. ``backends`` holds, for each
    role of vision, the backends that can serve it, the best first.
    """

    def __init__(
        self,
        catalog: Catalog,
        folders: Callable[[], Folders],
        jobs: JobQueue,
        commercial_only: Callable[[], bool],
        fetched: Callable[[], None],
        backends: Mapping[str, Sequence[Ranked]] | None = None,
    ) -> None:
        self.catalog = catalog
        self._folders = folders
        self._jobs = jobs
        self._commercial_only = commercial_only
        self._fetched = fetched
        self._backends = backends or {}

    @property
    def commercial_only(self) -> bool:
        """Whether weights that may not be used commercially are excluded."""
        return self._commercial_only()

    @property
    def offline(self) -> bool:
        """Whether the network may not be used."""
        from easyphoto.catalog import fetching

        return fetching.offline()

    def features(self) -> list[Needs]:
        """Return what every bundle needs that something uses, after one look through the folders for all of them."""
        bundles = list(self.catalog.offered.values())
        plan = self._plan([b.name for b in bundles])
        return [self._needs(bundle, plan) for bundle in bundles]

    def needs(self, name: str) -> Needs:
        """Return what the bundle ``name`` needs. The network is never used. Raises NotFound for an unknown name."""
        self.catalog.require_offered([name])
        plan = self._plan([name])
        return self._needs(self.catalog.bundles.get(name) or Bundle(name, name, (name,)), plan, plan.begun)

    def fetch(self, names: Sequence[str]) -> Job[list[str]]:
        """Queue a download of what the bundles lack. Its result is the list of names of the files that came. An unknown
        name is refused at once. The job waits for other downloads, but not for trainings and portraits."""
        if not names:
            raise InvalidRequest("Nothing was chosen: choose a feature to download.")
        self.catalog.require_offered(names)
        self._plan(names)
        wanted = tuple(dict.fromkeys(names))
        subject = ", ".join(self.catalog.bundles[n].what if n in self.catalog.bundles else n for n in wanted)
        return queued(self._jobs, Order(MODELS, subject, payload={"names": list(wanted)}), self, NETWORK)

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> list[str]:
        """Download what the bundles of the request lack; the names of the files that came."""
        names = tuple(str(name) for name in request.payload["names"])
        self.catalog.require_offered(names)
        return self._fetch(names, emit, cancelled)

    def to_data(self, result: list[str]) -> dict[str, Any]:
        """The files as plain data."""
        return {"files": result}

    def from_data(self, data: Mapping[str, Any]) -> list[str]:
        """The files of :meth:`to_data`."""
        return [str(name) for name in data["files"]]

    def serving(self, vision: Vision) -> list[Serving]:
        """Return which backend serves each role of vision. No model is loaded for this."""
        now = vision.backends()
        found = []
        for role in dict.fromkeys((*self._backends, *now)):
            table = self._backends.get(role, ())
            known = [b.name for b in table]
            before = table[: known.index(now[role])] if now.get(role) in known else table
            kept_off = tuple(b.name for b in before if not b.commercial) if self.commercial_only else ()
            found.append(Serving(role, now.get(role, ""), kept_off))
        return found

    def _plan(self, names: Sequence[str]) -> DownloadPlan:
        return self.catalog.plan(names, self._folders(), commercial_only=self.commercial_only, hashing=False)

    def _needs(self, bundle: Bundle, plan: DownloadPlan, begun: int = 0) -> Needs:
        chosen, _ = self.catalog.select([bundle.name], commercial_only=self.commercial_only)
        names = {asset.name for asset in chosen}
        there = {p.asset.name: p for p in plan.present}
        wrong = {v.asset.name: v for v in plan.unusable}
        entries: list[Entry] = []
        for asset in chosen:
            if asset.name in there:
                found = there[asset.name]
                entries.append(Entry(asset, "there", found.path.name, found.how))
            elif asset.name in wrong:
                entries.append(Entry(asset, "unusable", asset.file, note=wrong[asset.name].reason or ""))
            else:
                entries.append(Entry(asset, "missing", asset.file))
        left = [self.catalog.assets[n] for n in bundle.assets if n not in names and n in self.catalog.assets]
        entries += [Entry(a, "left out", a.file) for a in left]
        own = replace(plan, missing=tuple(a for a in plan.missing if a.name in names), begun=begun)
        return Needs(bundle, tuple(entries), own.bytes, own.exact)

    def _fetch(self, names: tuple[str, ...], emit: Listener, cancelled: Callable[[], bool]) -> list[str]:
        before = self._plan(names)
        emit(Progress(stage="download", message=before.sentence()))
        missing = {a.name: a for a in before.missing}
        after = self.catalog.fetch(
            names, self._folders(), commercial_only=self.commercial_only, listener=emit, cancelled=cancelled
        )
        came = [missing[p.asset.name] for p in after.present if p.asset.name in missing and p.how == "name"]
        if came:
            self._fetched()
        total = size(sum(a.bytes for a in came))
        emit(Finished(result={"files": [a.file for a in came], "size": total}))
        return [a.file for a in came]
