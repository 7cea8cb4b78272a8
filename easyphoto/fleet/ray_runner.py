"""The queue's runner on a Ray cluster: a worker is found for a request, and another when that one is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from easyphoto import errors, events
from easyphoto.errors import Cancelled, HostFailed, InvalidRequest
from easyphoto.events import Event, Failed, Finished, Listener, Notice
from easyphoto.fleet import parcel
from easyphoto.fleet.actor import TRAIN, Build, Errand, Hello, Terms
from easyphoto.fleet.cluster import Cluster, Hand, Lost
from easyphoto.fleet.crew import Crew
from easyphoto.fleet.options import FleetOptions, Share
from easyphoto.fleet.parcel import Area, PackedFile, Translation
from easyphoto.fleet.returns import PortraitReturns, Returns, TrainingReturns
from easyphoto.messages import Message
from easyphoto.queue.port import DurableRequest
from easyphoto.service import EasyPhoto
from easyphoto.storage import portraits

PORTRAITS = "generate"
MAX_LOST = 5
"""How many workers a request may lose before it is given up: it may be what kills them."""


def started(service: EasyPhoto, build: Build, options: FleetOptions) -> RayRunner:
    """A runner for the queue of ``service``, whose first worker can work. ``build`` makes the workers' services.

    Raises :class:`AssetMissing` without Ray and :class:`HostFailed` without a cluster or a worker. Close what you get.
    """
    cluster = Cluster(options.address)
    try:
        crew = Crew(cluster, Terms(build, service.paths, options.shared), options.workers)
        crew.wait_for_first()
    except BaseException:
        cluster.close()
        raise
    return RayRunner(service, cluster, crew, options.shared)


class RayRunner:
    """A :class:`easyphoto.queue.port.Runner`. Made by :func:`started`."""

    name = "ray"

    def __init__(self, service: EasyPhoto, cluster: Cluster, crew: Crew, share: Share) -> None:
        self._service, self._cluster, self._crew, self._share = service, cluster, crew, share

    @property
    def slots(self) -> int:
        """How many workers there are, or will be when there is room for them."""
        return self._crew.size

    def run(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Any:
        """Have the request done on the cluster and give its result. One whose worker is lost is begun again with all
        that has come back of it. Raises the errors of the request, and :class:`HostFailed` when too many are lost."""
        kind = self._service.kinds[request.kind]
        if request.kind not in (TRAIN, PORTRAITS):
            return kind.work(request, emit, cancelled)
        lost = Lost("")
        for attempt in range(request.attempt, request.attempt + MAX_LOST):
            try:
                data = self._done(replace(request, attempt=attempt), emit, cancelled)
            except Lost as error:
                if self._crew.closed:
                    # The program ends. What is told now would be taken for the request's end, which goes on at the
                    # program's next start; this thread goes with the program.
                    threading.Event().wait()
                lost = error
                if cancelled():
                    raise Cancelled("Cancelled while its worker was lost.") from error
                emit(Notice(message=Message("A worker was lost ({reason}): another goes on.", reason=error)))
                continue
            if request.kind == TRAIN:
                self._service.host.refresh_loras()
            return kind.from_data(data)
        raise HostFailed(
            "{count} workers were lost over this, the last one so: {reason}.", count=MAX_LOST, reason=lost
        ) from lost

    def close(self) -> None:
        """Let the workers go and leave the cluster."""
        self._crew.close()
        self._cluster.close()

    # --- one attempt -------------------------------------------------------------------------------------------------

    def _done(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> dict[str, Any]:
        """The result of one attempt, as data."""

        def waiting() -> None:
            emit(Notice(message=Message("No worker is free: this waits until one is, or a node comes.")))

        with self._crew.borrowed(cancelled, waiting) as (hand, hello):
            if self._share == "folder":
                return self._followed(hand, Errand(request), emit, cancelled, None)
            translation = Translation.between(hello.folders, self._service.paths)
            returns, held = self._returns(request, translation, hello)
            with held:
                errand = self._packed(request)
                return self._followed(hand, errand, emit, cancelled, (returns, translation))

    def _followed(
        self,
        hand: Hand,
        errand: Errand,
        emit: Listener,
        cancelled: Callable[[], bool],
        back: tuple[Returns, Translation] | None,
    ) -> dict[str, Any]:
        """Tell what the worker tells and keep what it sends, to the end."""
        finished: Finished | None = None
        for told in hand.run(errand, cancelled):
            if back is not None:
                back[0].take(told)
            event = _event(told.event, None if back is None else back[1])
            if told.ended:
                if isinstance(event, Failed):
                    raise errors.of(event.code)(event.message)
                if finished is not None:
                    emit(finished)
                data = dict(told.result or {})
                return data if back is None else dict(back[1].data(data))
            if isinstance(event, Finished):
                finished = event  # told when all that it speaks of is here
            elif event is not None:
                emit(event)
        raise Lost("the worker ended without a word")

    def _returns(
        self, request: DurableRequest, translation: Translation, hello: Hello
    ) -> tuple[Returns, AbstractContextManager[None]]:
        paths = self._service.paths
        if request.kind == TRAIN:
            training = TrainingReturns(paths, self._service.people.at(request.subject))
            return training, training.alone()
        return PortraitReturns(paths, translation, hello.folders[Area.PORTRAITS.value]), nullcontext()

    def _packed(self, request: DurableRequest) -> Errand:
        """The request with all that it needs where nothing of this machine can be seen: what came back of it in
        earlier attempts too."""
        paths = self._service.paths
        made = portraits.of_job(paths.portraits, request.job, request.at) if request.attempt else ()
        pieces: list[PackedFile] = list(parcel.packed(paths, Area.PORTRAITS, [path for path, _ in made]))
        try:
            for name in dict.fromkeys((*request.uses, *([request.subject] if request.kind == TRAIN else []))):
                person = self._service.people.at(name)
                pieces += parcel.of_person(paths, person, photos=request.kind == TRAIN)
            pictures = tuple(picture.path.read_bytes() for picture in request.pictures)
        except OSError as error:
            raise InvalidRequest(
                "What the request needs can't be read: {reason}.", reason=error.strerror or error
            ) from error
        return Errand(request, pictures, tuple(pieces))


def _event(line: str, translation: Translation | None) -> Event | None:
    """The event of a line, which names files where they are here."""
    if not line:
        return None
    return events.from_json(line if translation is None else json.dumps(translation.data(json.loads(line))))
