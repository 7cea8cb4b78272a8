"""What a worker does: one request after another, with an engine that stays warm. It knows nothing of Ray.

:class:`FleetActor` lives in a process of its own on a node. With a shared folder it works on the head's own files;
where there is none, a request comes with all that it needs, is worked on in the worker's own folder, and what it makes
goes back as it is made. A training sends its state back whenever it has saved one, so that another worker can go on
from there.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import easyphoto
from easyphoto import events, program
from easyphoto.config import Paths
from easyphoto.errors import EasyPhotoError, StorageFailed
from easyphoto.events import Event, Failed
from easyphoto.fleet import lodging, parcel
from easyphoto.fleet.lodging import Lodging
from easyphoto.fleet.options import Share
from easyphoto.fleet.parcel import Area, PackedFile, Told
from easyphoto.messages import Message
from easyphoto.queue.port import DurableRequest, StoredPicture
from easyphoto.service import EasyPhoto
from easyphoto.storage import files, listing
from easyphoto.storage.folders import MEAN, PersonFolder

_log = logging.getLogger(__name__)

Build = Callable[[Paths], EasyPhoto]
"""Makes the service on the folders that it is given. It crosses to the workers, so it is a function of a module, or one
with some of its arguments given (:func:`functools.partial`)."""
TRAIN = "train"


@dataclass(frozen=True)
class Terms:
    """What all workers of a head have in common. ``paths`` are the head's folders; with ``share`` ``folder`` they are
    the workers' as well."""

    build: Build
    paths: Paths
    share: Share


@dataclass(frozen=True)
class Hello:
    """Who a worker is: the program's version there, the name of its node, its process, and where it has the folders
    that travel, by area."""

    version: str
    node: str
    process: int
    folders: dict[str, str]


@dataclass(frozen=True, eq=False)
class Errand:
    """A request on its way to a worker. ``pictures`` are the bytes of the request's pictures and ``pieces`` the files
    of the people whom it uses; both are empty where there is a shared folder."""

    request: DurableRequest
    pictures: tuple[bytes, ...] = ()
    pieces: tuple[PackedFile, ...] = ()


class FleetActor:
    """A worker. :meth:`run` is called for one request at a time, :meth:`cancel` and :meth:`hello` at any time."""

    def __init__(self, terms: Terms) -> None:
        self._share = terms.share
        self._lodging: Lodging | None = None
        paths = terms.paths
        if terms.share == "ray":
            self._lodging = Lodging(lodging.root(), _models(terms.paths))
            paths = self._lodging.paths
        self._paths = paths
        self._service = terms.build(paths)
        self._cancelled: set[str] = set()

    def hello(self) -> Hello:
        """Who this is. The answer says that the worker can work."""
        folders = {area.value: str(area.below(self._paths)) for area in Area}
        return Hello(easyphoto.__version__, platform.node(), os.getpid(), folders)

    def cancel(self, job: str) -> None:
        """Ask the request of that id to stop."""
        self._cancelled.add(job)

    def run(self, errand: Errand) -> Iterator[list[Told]]:
        """Do a request and tell everything of it as it happens, several at once where they come fast. What is told
        last has a result or is marked as ended. Nothing of the request is left on the node then."""
        said: queue.SimpleQueue[Told | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                self._work(errand, said.put)
            finally:
                said.put(None)

        thread = threading.Thread(target=work, name="request", daemon=True)
        thread.start()
        ended = False
        while not ended:
            batch = [said.get()]
            while not said.empty():
                batch.append(said.get())
            ended = None in batch
            yield [told for told in batch if told is not None]
        thread.join()

    def _work(self, errand: Errand, tell: Callable[[Told], None]) -> None:
        job = errand.request.job
        try:
            last = self._done(errand, tell)
        except EasyPhotoError as error:
            last = Told(events.to_json(Failed(code=error.code, message=error.message)), ended=True)
        except Exception as error:  # noqa: BLE001 - a bug ends one request, not the worker; the head is told
            _log.exception("request %s failed", job)
            sentence = Message(
                "An unexpected error stopped this: {kind}: {error}", kind=type(error).__name__, error=error
            )
            last = Told(events.to_json(Failed(code=EasyPhotoError.code, message=sentence)), ended=True)
        self._cancelled.discard(job)
        try:
            if self._lodging is not None:
                self._lodging.empty()
        except StorageFailed as error:
            _log.warning("%s", error)
            os._exit(1)  # whoever outlives this process removes the folder whole
        tell(last)

    def _done(self, errand: Errand, tell: Callable[[Told], None]) -> Told:
        request = errand.request
        kind = self._service.kinds[request.kind]
        cancelled = lambda: request.job in self._cancelled  # noqa: E731 - asked, not defined
        if self._lodging is None:
            result = kind.work(request, lambda event: tell(Told(events.to_json(event))), cancelled)
            return Told(result=kind.to_data(result), ended=True)
        request = self._unpacked(errand, self._lodging)
        luggage = _Luggage(self._paths, request)
        try:
            result = kind.work(request, lambda event: tell(luggage.with_event(event)), cancelled)
        except EasyPhotoError:
            tell(luggage.rest())
            raise
        tell(luggage.rest())
        return Told(result=kind.to_data(result), ended=True)

    def _unpacked(self, errand: Errand, own: Lodging) -> DurableRequest:
        """The request with its pictures, and the people whom it uses, in the worker's folder."""
        own.empty()
        for piece in errand.pieces:
            if piece.area is Area.LORAS:
                files.remove(parcel.place(self._paths, piece))  # the node may have one of that name
            parcel.put(self._paths, piece)
        kept: list[StoredPicture] = []
        for number, (picture, data) in enumerate(zip(errand.request.pictures, errand.pictures, strict=True)):
            file = own.pictures / str(number) / picture.path.name
            files.write_bytes(file, data)
            kept.append(StoredPicture(file, picture.named))
        return replace(errand.request, pictures=tuple(kept))


class _Luggage:
    """What of a request's files goes back with what is said, each file once for every time it changes."""

    def __init__(self, paths: Paths, request: DurableRequest) -> None:
        self._paths = paths
        self._person = PersonFolder(paths.people / request.subject) if request.kind == TRAIN else None
        self._sent: dict[Path, tuple[int, int]] = {}
        self._fresh([*listing.below(paths.people), *listing.below(paths.portraits)])
        self._marks = self._stamp(self._person.marks) if self._person is not None else None

    def with_event(self, event: Event) -> Told:
        """An event, with the files that it names and, when a training has saved, all that it would go on from."""
        line = events.to_json(event)
        named = self._fresh(_named(event, (self._paths.people, self._paths.portraits)))
        pieces = list(self._packed(named))
        jobs = None
        if self._person is not None and self._changed(self._person.job.state):
            pieces += self._packed(self._fresh(parcel.in_job(self._person)))
            jobs = self._in_job()
        return Told(line, tuple(pieces), jobs)

    def rest(self) -> Told:
        """What has changed and was not sent yet."""
        if self._person is None:
            return Told(pieces=tuple(self._packed(self._fresh(listing.below(self._paths.people, MEAN)))))
        jobs = list(self._packed(self._fresh(parcel.in_job(self._person))))
        published = self._stamp(self._person.marks) != self._marks
        pieces = parcel.of_person(self._paths, self._person, photos=True) if published else ()
        outside = [piece for piece in pieces if not piece.name.startswith(f"{self._person.name}/job/")]
        return Told(pieces=(*outside, *jobs), jobs=self._in_job(), published=published)

    def _in_job(self) -> tuple[str, ...]:
        assert self._person is not None
        top = self._person.job.path
        return tuple(path.relative_to(top).as_posix() for path in parcel.in_job(self._person))

    def _packed(self, found: list[Path]) -> Iterator[PackedFile]:
        for area in (Area.PEOPLE, Area.PORTRAITS):
            folder = area.below(self._paths)
            yield from parcel.packed(self._paths, area, [path for path in found if path.is_relative_to(folder)])

    def _fresh(self, found: Any) -> list[Path]:
        fresh = [path for path in found if self._changed(path)]
        self._sent |= {path: stamp for path in fresh if (stamp := self._stamp(path)) is not None}
        return fresh

    def _changed(self, path: Path) -> bool:
        stamp = self._stamp(path)
        return stamp is not None and self._sent.get(path) != stamp

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns


def _named(event: Event, folders: tuple[Path, ...]) -> list[Path]:
    """The files below ``folders`` that an event names."""
    values = [one for value in vars(event).values() for one in (value if isinstance(value, tuple) else (value,))]
    paths = [Path(value) for value in values if isinstance(value, str) and Path(value).is_absolute()]
    return [path for path in paths if any(path.is_relative_to(folder) for folder in folders) and path.is_file()]


def _models(head: Paths) -> Path:
    """Where this node has its weights: where the head has them, or in the program's own data folder."""
    return head.models if head.models.is_dir() else program.data_folder() / "models"
