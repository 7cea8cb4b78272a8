"""What the queue keeps of a request, how a request becomes work, and who does the work.

A request is durable: plain JSON data and picture files, nothing of the process that took it. So it can wait through a
restart, be read by a second program on the same data folder, and be sent to another machine.

    asked by an edge      service.train(TrainRequest) / service.generate(PortraitRequest) / weights.fetch(names)
    becomes an Order      kind, subject, user ids, payload (JSON), pictures (bytes or files)
    is kept as            a DurableRequest: the same with an id; its pictures lie as files below ``paths.queue``
    is done by            RequestKind.work(request, emit, cancelled) -> result
    which is called by    a Runner: a lane of this process, or a cluster

**Kinds.** There are ``train``, ``generate``, ``video``, ``models`` and ``batch``; each is a :class:`RequestKind` that
``service.kinds`` holds by its name. ``work`` is what a :class:`Runner` calls, here or on another machine with an
``EasyPhoto`` of its own. It polls ``cancelled`` and tells everything through ``emit`` (any thread may call it; the last
event is ``Finished``); it raises the errors of :mod:`easyphoto.errors`. A result goes through ``to_data`` and
``from_data`` wherever it has to become plain data: in the database, and on the way from another machine.

A ``batch`` asks for portraits and waits for them: it runs in a lane of its own in the program that owns the queue,
never on another machine, and keeps nobody waiting. :mod:`easyphoto.batch`, which lies above the service, registers it.

**Where results are written.** A portrait goes to ``paths.portraits``, with ``"job"`` (the request's id) beside seed and
template index in its recipe. A clip goes to ``paths.videos``, in a folder named after the job until it is whole. A
training goes to the person's folder below ``paths.people`` and its LoRA to ``paths.loras``. A download goes into the
folders of weights. A runner that works elsewhere brings these files there.

**At least once, and once to be seen.** A request may be begun again when the process or machine that worked on it was
lost. ``work`` looks for what is there of *this* request (``request.job``) and goes on behind it: portraits that have
been saved are not made again (seeds were drawn when it was queued, so the missing ones come out the same), a training
goes on from its last saved state. Nothing but the id, the payload and the files decides what is made.

**Privacy.** Pictures of a request lie below ``paths.queue`` until it has ended, on another machine for as long as
``work`` runs. The queue removes the photos; a runner removes what it brought elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from easyphoto.events import Listener
from easyphoto.jobs import Result
from easyphoto.pictures import Source


@dataclass(frozen=True, eq=False)
class Order:
    """A request that is to be queued. ``payload`` is JSON data that names pictures by their place in ``pictures``;
    ``uses`` are the user ids of those whose files it reads or writes. ``job``: the id that it is to have, where whoever
    asks has to know it beforehand."""

    kind: str
    subject: str
    uses: tuple[str, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[Source, ...] = ()
    job: str = ""


@dataclass(frozen=True)
class StoredPicture:
    """A picture of a request: a file of the very bytes that were given. ``named``: it was given as a file, and ``path``
    ends with that file's name; else it came as bytes, and how its file is called means nothing."""

    path: Path
    named: bool

    @property
    def source(self) -> Source:
        """What was given: the file, or the bytes. OSError when they are gone."""
        return self.path if self.named else self.path.read_bytes()


@dataclass(frozen=True, eq=False)
class DurableRequest:
    """A request as it waits and as it is worked on. ``job`` is its id, for ever and everywhere. ``attempt``: how often
    it was begun before, and cut off or asked for again; 0 the first time. ``at``: when it was queued, in seconds since
    the epoch."""

    job: str
    kind: str
    subject: str
    uses: tuple[str, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[StoredPicture, ...] = ()
    attempt: int = 0
    at: float = 0.0


class RequestKind(Protocol[Result]):
    """What is done with the requests of one kind."""

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Result:
        """Do it, or what of it is missing. Raises the errors of :mod:`easyphoto.errors`, ``Cancelled`` soon after
        ``cancelled`` says so."""

    def to_data(self, result: Result) -> dict[str, Any]:
        """A result as JSON data; files by their paths."""

    def from_data(self, data: Mapping[str, Any]) -> Result:
        """The result of :meth:`to_data`; ValueError, KeyError or TypeError when the data is none, NotFound when what
        it tells of is there no more."""


class Runner(Protocol):
    """Whoever does the work of requests: a device of this process (:class:`easyphoto.queue.lanes.LocalRunner`), or a
    cluster. The queue gives it no other request of a person while that person is trained."""

    @property
    def name(self) -> str:
        """What the queue says of a job that runs there: ``cuda:0``, ``ray``."""

    @property
    def slots(self) -> int:
        """How many requests it works on at the same time."""

    def run(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Any:
        """Have the request done and give its result, as :meth:`RequestKind.work` gives it. Called from as many threads
        as there are slots, and blocks. What is lost on the way (a worker, a node) is begun again in here."""

    def close(self) -> None:
        """No further request comes."""
