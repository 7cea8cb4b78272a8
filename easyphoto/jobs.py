"""Jobs that wait their turn: one device, one thing at a time, and everybody can watch.

Downloads have a lane of their own, so that gigabytes keep nobody from a portrait. What waits is bounded in number and
in bytes, and a job that has ended keeps nothing but its events and its result.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar

from easyphoto.errors import Cancelled, EasyPhotoError, NotFound, TooBusy
from easyphoto.events import Event, Failed, Portrayed, Preview, Queued, TemplateFailed

_log = logging.getLogger(__name__)

Result = TypeVar("Result")
State = Literal["queued", "running", "finished", "failed", "cancelled"]
DEVICE, NETWORK, BATCH = "device", "network", "batch"
"""Lanes: jobs of one lane wait for one another. What needs the graphics card is in the first, what only asks for other
jobs and waits for them in the last."""
KEPT = 50
"""How many ended jobs are remembered."""
MAX_WAITING = 50
"""How many jobs of one lane may wait at the same time."""
LOOKING = 5.0
"""So many seconds after somebody looked at a preview, the next ones are still wanted."""
MAX_HELD = 2**30
"""Bytes that the requests of all jobs that haven't ended may hold together; one alone may be larger."""


def new_id() -> str:
    """An id that no other job has."""
    return uuid.uuid4().hex[:12]


class Job(Generic[Result]):
    """Something that was asked for: its events so far, its state, and in the end its result or its error."""

    def __init__(
        self,
        what: str,
        subject: str,
        work: Callable[[Job[Result]], Result],
        holds: int = 0,
        on_cancel: Callable[[Job[Any]], None] = lambda job: None,
        uses: Iterable[str] = (),
    ) -> None:
        """``holds``: bytes that ``work`` keeps in memory. ``on_cancel`` is called once, when it is cancelled before
        it began. ``uses``: the user ids of the people whose files ``work`` reads or writes."""
        self.id = new_id()
        self.what = what
        self.subject = subject
        self.state: State = "queued"
        self.at = time.time()
        self.holds = holds
        self.uses = frozenset(uses)
        self._work: Callable[[Job[Result]], Result] | None = work
        self._on_cancel = on_cancel
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._cancel = threading.Event()
        self._result: Result | None = None
        self._error: EasyPhotoError | None = None
        self._preview: Preview | None = None
        self._looked_at = -LOOKING

    def emit(self, event: Event) -> None:
        """Add an event; everybody who follows sees it. A :class:`Preview` is only shown to who looks."""
        if self._is_passing(event):
            return
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def look(self) -> Preview | None:
        """Return how the picture that is being made looks so far, if that is known. For a few seconds from now on, the
        job finds out more of it."""
        self._looked_at = time.monotonic()
        return self._preview

    @property
    def listener(self) -> JobListener:
        """What the work of this job tells its events."""
        return JobListener(self)

    def is_looked_at(self) -> bool:
        """Whether somebody called :meth:`look` just now."""
        return time.monotonic() - self._looked_at < LOOKING

    def _is_passing(self, event: Event) -> bool:
        """Keep a preview until another one comes or its picture is done, and return whether ``event`` was one."""
        if isinstance(event, Preview):
            self._preview = event
            return True
        if isinstance(event, Portrayed | TemplateFailed):
            self._preview = None
        return False

    def cancel(self) -> None:
        """Ask the job to stop: it does so within a step, or at once when it hasn't begun."""
        self._cancel.set()
        with self._changed:
            waited = self.state == "queued"
            if waited:
                self._fail(Cancelled("Cancelled before it began."))
        if waited:
            self._on_cancel(self)

    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called; the work polls this."""
        return self._cancel.is_set()

    @property
    def cut_off(self) -> int:
        """How often it was begun again, because the program that worked on it was gone or somebody asked for it."""
        return 0

    @property
    def can_be_retried(self) -> bool:
        """Whether it ended without what was asked for, and can be begun again."""
        return False

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "failed", "cancelled")

    def events(self, after: int = 0, *, follow: bool = True, poll: float = 15.0) -> Iterator[tuple[int, Event]]:
        """Numbered events from number ``after`` on; with ``follow``, waits for more until the job ends.

        An iteration that waits longer than ``poll`` seconds goes on waiting; it can be left at any event.
        """
        number = after
        while True:
            with self._changed:
                while follow and number >= len(self._events) and not self.ended:
                    self._changed.wait(poll)
                fresh = self._events[number:]
                done = self.ended or not follow
            for event in fresh:
                number += 1
                yield number, event
            if done and number >= len(self._events):
                return

    def wait(self, timeout: float | None = None) -> Result:
        """The result; raises the job's error, or TimeoutError after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended, timeout):
                raise TimeoutError(f"job {self.id} still {self.state}")
        if self._error is not None:
            raise _bare(self._error)  # a copy for each: raising adds the caller's frames to what is raised
        return self._result  # type: ignore[return-value]  # set whenever there is no error

    def run(self) -> None:
        """Do the work, unless it was cancelled. Called once, by the queue."""
        with self._changed:
            work = self._work
            if self.state != "queued" or work is None:
                return
            self.state = "running"
        try:
            result = work(self)
        except EasyPhotoError as error:
            _log.debug("job %s (%s) ended", self.id, self.what, exc_info=error)
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the queue must outlive a bug; the user is told, the log has all of it
            _log.exception("job %s (%s) failed", self.id, self.what)
            self._fail(
                EasyPhotoError(
                    "An unexpected error stopped this: {kind}: {error}", kind=type(error).__name__, error=error
                )
            )
        else:
            self._succeed(result)

    def _succeed(self, result: Result) -> None:
        with self._changed:
            self._result = result
            self._end("finished")

    def _fail(self, error: EasyPhotoError) -> None:
        with self._changed:
            self._error = _bare(error)
            self._events.append(Failed(code=error.code, message=error.message))
            self._end("cancelled" if isinstance(error, Cancelled) else "failed")

    def _end(self, state: State) -> None:
        """Nothing of the request is kept: it may be hundreds of megabytes, and fifty ended jobs are remembered."""
        self._work = self._preview = None
        self.holds = 0
        self.state = state
        self._changed.notify_all()


class JobListener:
    """A :class:`easyphoto.events.WatchedListener` that adds to the events of ``job``."""

    def __init__(self, job: Job[Any]) -> None:
        self._job = job

    def __call__(self, event: Event) -> None:
        self._job.emit(event)

    def is_watched(self) -> bool:
        return self._job.is_looked_at()


def _bare(error: EasyPhotoError) -> EasyPhotoError:
    """The same error without its traceback, whose frames keep all that they worked on."""
    bare = copy.copy(error)
    bare.__traceback__ = bare.__context__ = bare.__cause__ = None
    return bare


class Lane:
    """Jobs that wait for one another: as many run at the same time as the lane has threads."""

    def __init__(self) -> None:
        self.waiting: list[Job[Any]] = []
        self.running: list[Job[Any]] = []
        self.threads: list[threading.Thread] = []

    def position(self, job: Job[Any]) -> int:
        """How many jobs must end before this one starts; 0 for one that doesn't wait here."""
        if job not in self.waiting:
            return 0
        return max(0, self.waiting.index(job) + len(self.running) + 1 - max(1, len(self.threads)))

    def tell(self, start: int = 0) -> None:
        """Those from place ``start`` of the line on are told where they stand."""
        for job in self.waiting[start:]:
            job.emit(Queued(position=self.position(job)))


class JobQueue:
    """Runs the jobs of each lane one after another on a thread of its own, in the order in which they came.

    ``max_waiting`` and ``max_held`` are the most that may wait, as ``MAX_WAITING`` and ``MAX_HELD`` say.
    """

    def __init__(self, max_waiting: int = MAX_WAITING, max_held: int = MAX_HELD) -> None:
        self._jobs: OrderedDict[str, Job[Any]] = OrderedDict()
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Condition(threading.RLock())
        self._max_waiting = max_waiting
        self._max_held = max_held

    def submit(
        self,
        what: str,
        subject: str,
        work: Callable[[Job[Result]], Result],
        lane: str = DEVICE,
        holds: int = 0,
        uses: Iterable[str] = (),
    ) -> Job[Result]:
        """Put a job in the queue; it starts when everything before it in its lane has ended.

        ``holds``: bytes that ``work`` keeps in memory; ``uses``: the user ids of those whose files it needs.
        :class:`TooBusy` when too many jobs or bytes wait already.
        """
        job = Job(what, subject, work, holds, self._leave, uses)
        with self._lock:
            found = self._lane(lane)
            self._check_room(found, holds)
            self._enter(job, found)
            position = found.position(job)
            if position:
                job.emit(Queued(position=position))
            self._lock.notify_all()
        return job

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            self._lanes[name] = Lane()
            self._man(name, self._lanes[name])
        return self._lanes[name]

    def _man(self, name: str, lane: Lane) -> None:
        """Start the threads of a new lane."""
        self._start(lane, f"easyphoto-jobs-{name}", self._serve)

    def _start(self, lane: Lane, name: str, serve: Callable[[Lane], None]) -> None:
        thread = threading.Thread(target=serve, args=(lane,), name=name, daemon=True)
        lane.threads.append(thread)
        thread.start()

    def _enter(self, job: Job[Any], lane: Lane) -> None:
        self._jobs[job.id] = job
        lane.waiting.append(job)
        self._forget()

    def _check_room(self, lane: Lane, holds: int) -> None:
        if len(lane.waiting) >= self._max_waiting:
            raise TooBusy("{count} jobs wait already: try again when some of them have ended.", count=len(lane.waiting))
        held = sum(job.holds for job in self._jobs.values())
        if held and held + holds > self._max_held:
            raise TooBusy(
                "The pictures of the jobs that wait fill {held:.0f} MB already: try again when some "
                "of them have ended.",
                held=held / 2**20,
            )

    def _leave(self, job: Job[Any]) -> None:
        """A job that was cancelled stands in nobody's way."""
        with self._lock:
            for lane in self._lanes.values():
                if job in lane.waiting:
                    place = lane.waiting.index(job)
                    lane.waiting.remove(job)
                    lane.tell(place)

    def get(self, job_id: str) -> Job[Any]:
        with self._lock:
            if job_id not in self._jobs:
                raise NotFound("There is no job {job_id!r}.", job_id=job_id)
            return self._jobs[job_id]

    def list(self) -> list[Job[Any]]:
        """All jobs that are remembered, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def position(self, job: Job[Any]) -> int:
        """How many jobs must end before this one starts; 0 when it runs or has ended."""
        with self._lock:
            return max((lane.position(job) for lane in self._lanes.values()), default=0)

    def _forget(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.ended]
        for job_id in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[job_id]

    def _serve(self, lane: Lane) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: bool(lane.waiting))
                job = self._take(lane, lane.waiting[0])
            job.run()
            self._ended(lane, job)

    def _take(self, lane: Lane, job: Job[Any]) -> Job[Any]:
        """Take a waiting job out of the line: it runs now, and those behind it are told."""
        lane.waiting.remove(job)
        lane.running.append(job)
        lane.tell()
        return job

    def _ended(self, lane: Lane, job: Job[Any]) -> None:
        with self._lock:
            lane.running.remove(job)
            self._lock.notify_all()
