"""The queue that survives: :class:`easyphoto.jobs.JobQueue` over a database, for several programs on one data folder.

One program owns it and works; the others see the same jobs, add to them and follow them. A program that attends
(``serve``, a WebUI) works on everything; another one works on its own requests, while nobody else owns the queue, and
then leaves it. What a program was working on when it ended is begun again by the next owner.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from easyphoto.errors import Cancelled, EasyPhotoError, InvalidRequest, NotFound, StorageFailed, TooBusy
from easyphoto.events import Event, Failed, Notice, Queued
from easyphoto.jobs import BATCH, DEVICE, KEPT, MAX_HELD, MAX_WAITING, NETWORK, Job, JobQueue, Lane, new_id
from easyphoto.messages import Message
from easyphoto.queue.database import Caps, JobRow, QueueStore, check_room
from easyphoto.queue.lanes import LocalRunner
from easyphoto.queue.owner import Ownership, Worker
from easyphoto.queue.port import DurableRequest, Order, RequestKind, Runner
from easyphoto.queue.spool import Spool
from easyphoto.queue.stored_job import StoredJob

_log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks at what other programs have done."""
LEAVING = 5.0
"""Seconds in which the thread of a job that has ended has long turned to the next."""
MAX_STORED = 8 * 2**30
"""Bytes that the pictures of all jobs that wait in one lane may fill; those of one alone may be more."""
FRUITLESS = 30
"""So often is a job begun that ends its program each time before anything has come of it."""
CUT_OFF = Message("The program ended while this was being done; it goes on from there.")
GIVEN_UP = Message(
    "It was begun {count} times and the program ended each time before anything came of it.", count=FRUITLESS
)
KEEP_FOR_RETRY = ("generate", "video", "batch")
"""Kinds whose pictures (templates, nobody's photos) are kept when they fail, until they are retried or cleared."""
SHARING = ("generate", "video")
"""Kinds that only read the files of people, so that several of one person are worked on at the same time."""
ASKING = ("batch",)
"""Kinds that only ask for other jobs, which wait for one another as any do. They themselves stand in nobody's way, nor
does anybody stand in theirs: a batch that kept a training waiting would wait for that training with its portraits."""


class DurableQueue(JobQueue):
    """The queue in ``folder``, which is made with the first job.

    ``kinds`` are the kinds of work that this program can do; who only looks and reorders needs none. Jobs that are
    submitted as functions (:meth:`submit`) live in this process alone, in the same lanes.
    """

    def __init__(self, folder: Path, max_waiting: int = MAX_WAITING, max_held: int = MAX_HELD) -> None:
        super().__init__(max_waiting, max_held)
        self.kinds: dict[str, RequestKind[Any]] = {}
        self.store = QueueStore(folder, self._was_lost)
        self.notice: Message | None = None
        """What everybody who looks at the queue should be told."""
        self._spool = Spool(folder)
        self._owner = Ownership(folder)
        self._runners: Sequence[Runner] = ()
        self._attending = self._working = self._paused = self._unswept = False
        self._ticking: threading.Thread | None = None
        self._seen = self._removals = self._generation = 0

    # --- asking ------------------------------------------------------------------------------------------------------

    def put(self, order: Order, lane: str = DEVICE) -> Job[Any]:
        """Queue a request. :class:`TooBusy` when too many jobs or bytes wait, :class:`StorageFailed` when it can't be
        kept; nothing of it is left then."""
        job_id = order.job or new_id()
        with self._lock:
            self._refresh()
            caps, line = self._caps(lane), self._line(lane)
            check_room(len(line.waiting), 0, 0, Caps(caps.jobs, caps.bytes))
        with self._spool.alone():
            kept, size = self._spool.keep(job_id, order.pictures)
            try:
                with self._lock:
                    row = self._new_row(job_id, order, lane, kept, size)
                    self.store.add(row, caps, self._told_at_first(line))
                    self._refresh()
                    job = self._jobs[job_id]
            except (EasyPhotoError, KeyError) as error:
                self._spool.discard(job_id)
                if isinstance(error, KeyError):
                    raise StorageFailed("The queue can't be written: {reason}.", reason="it was removed") from None
                raise
        with self._lock:
            assert isinstance(job, StoredJob)
            job.own = True
            self._forget()
            self._work_too()
        return job

    def _new_row(self, job_id: str, order: Order, lane: str, kept: tuple[tuple[str, bool], ...], size: int) -> JobRow:
        return JobRow(
            id=job_id,
            kind=order.kind,
            subject=order.subject,
            uses=order.uses,
            payload=dict(order.payload),
            pictures=kept,
            bytes=size,
            lane=lane,
            state="queued",
            rank=self._last_rank(lane),
            attempt=0,
            begun=0,
            cancel=False,
            runner="",
            result=None,
            at=time.time(),
        )

    def _told_at_first(self, line: Lane) -> list[Event]:
        told: list[Event] = []
        before = len(line.waiting) + len(line.running) + 1 - max(1, len(line.threads))
        if before > 0:
            told.append(Queued(position=before))
        worker = None if self._owner.held else self._owner.worker()
        if worker is not None:
            told.append(Notice(message=worker.sentence()))
        if self._paused:
            told.append(Notice(message=Message("The queue is paused: nothing begins before it is resumed.")))
        return told

    def _caps(self, lane: str) -> Caps:
        besides = sum(not isinstance(job, StoredJob) for job in self._line(lane).waiting)
        return Caps(self._max_waiting, MAX_STORED, besides)

    def _last_rank(self, lane: str) -> float:
        return max([time.time(), *(_rank(job) + 1e-3 for job in self._line(lane).waiting)])

    # --- looking -----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job[Any]:
        with self._lock:
            self._refresh()
            return super().get(job_id)

    def list(self) -> list[Job[Any]]:
        with self._lock:
            self._refresh()
            return sorted(self._jobs.values(), key=lambda job: job.at)

    def waiting(self, lane: str = DEVICE) -> Sequence[Job[Any]]:
        """The jobs that wait, in their order."""
        with self._lock:
            self._refresh()
            return tuple(self._line(lane).waiting)

    @property
    def paused(self) -> bool:
        """Whether nothing new begins."""
        with self._lock:
            self._refresh()
            return self._paused

    @property
    def limit(self) -> int:
        """How many jobs of one lane may wait."""
        return self._max_waiting

    def worker(self) -> Worker | None:
        """The program that works on the queue; None when none does."""
        return self._owner.worker()

    @property
    def works_here(self) -> bool:
        """Whether that is this one."""
        return self._owner.held

    def watch(self, job: StoredJob) -> None:
        """Somebody here follows this job: what becomes of it elsewhere is looked for until it has ended."""
        with self._lock:
            if not job.ended:
                job.watched = True
                self._start_ticking()

    def active(self, user_id: str) -> str | None:
        """The kind of a job that uses this person and runs or is going to: some program works on the queue, and it
        isn't paused. None where there is none."""
        jobs = [
            job
            for job in self.list()
            if not job.ended and (user_id in job.uses or (job.what, job.subject) == ("train", user_id))
        ]
        for job in jobs:
            if self._runs(job) or not isinstance(job, StoredJob):
                return job.what
        working = not self._paused and (self._attending or any(_is_own(job) for job in jobs) or self.worker())
        return jobs[0].what if jobs and working else None

    # --- ordering ----------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """What runs goes on, nothing new begins, until :meth:`resume`; also after a restart."""
        self._set_paused(True)

    def resume(self) -> None:
        """The end of :meth:`pause`."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        self.store.pause(paused)
        with self._lock:
            self._refresh()
            self._lock.notify_all()

    def move(self, job_id: str, place: int) -> None:
        """Put a waiting job at ``place`` of its line (0: it is next). :class:`InvalidRequest` when it doesn't wait."""
        with self._lock:
            job = self.get(job_id)
            line = self._line(job.row.lane) if isinstance(job, StoredJob) else None
            if line is None or job not in line.waiting:
                raise InvalidRequest("The job {job_id} doesn't wait: only one that waits can be moved.", job_id=job_id)
            others = [one for one in line.waiting if one is not job]
            place = max(0, min(place, len(others)))
            after = _rank(others[place - 1]) if place else None
            before = _rank(others[place]) if place < len(others) else None
            if after is None:
                rank = 0.0 if before is None else before - 1
            else:
                rank = after + 1 if before is None else (after + before) / 2
            if after is not None and before is not None and not after < rank < before:
                # No number is left between the two.
                order = [*others[:place], job, *others[place:]]
                self.store.spread([one.id for one in order], _rank(order[0]))
            else:
                self.store.move(job_id, rank)
            self._refresh()
            line.tell()

    def retry(self, job_id: str) -> Job[Any]:
        """Let a job that failed or was cancelled wait again: it goes on with what is missing. :class:`InvalidRequest`
        for any other."""
        with self._lock:
            job = self.get(job_id)
            if isinstance(job, StoredJob) and job.ended:
                self._lock.wait_for(lambda: not job.local, LEAVING)  # its thread is about to say that it has ended
            again = isinstance(job, StoredJob) and job.can_be_retried
            if not again or not self.store.retry(job_id, self._caps(job.row.lane), self._last_rank(job.row.lane)):  # type: ignore[attr-defined]
                raise InvalidRequest(
                    "The job {job_id} can't be retried: only one that failed or was cancelled can.", job_id=job_id
                )
            self._refresh()
            if self._attending or _is_own(job):
                self._work_too()
        return job

    def clear(self) -> int:
        """Forget every job that has ended, with its events and its result; how many that were."""
        with self._lock:
            self._refresh()
            return self._drop([job for job in self._jobs.values() if job.ended])

    def forget(self, user_id: str) -> int:
        """Remove every job that uses this person, with its pictures, events and results; how many that were.

        Those that wait are removed too, one that runs is not: see :meth:`active`. Files of the queue that were set
        aside as damaged go as well, as nobody can tell whom they hold. Raises :class:`StorageFailed`.
        """
        if not self.store.folder.is_dir():
            with self._lock:
                return self._drop([j for j in self._jobs.values() if user_id in j.uses and j.ended])
        with self._spool.alone():
            with self._lock:
                self._refresh()
                count = self._drop([j for j in self._jobs.values() if user_id in j.uses and not self._runs(j)])
            try:
                for path in self.store.damaged():
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageFailed("The queue can't be written: {reason}.", reason=error.strerror or error) from error
            self._spool.sweep(self.store.ids()[0])
        return count

    def is_coming(self, kind: str, user_id: str) -> bool:
        """Whether a job of this kind and person waits or runs, but for one that was cut off and is nobody's."""
        return any(
            not job.ended and job.what == kind and user_id in (job.subject, *job.uses) and not self._is_abandoned(job)
            for job in self.list()
        )

    def supersede(self, kind: str, user_id: str) -> None:
        """Remove what was cut off of this kind and person and that nobody works on: it is asked for anew."""
        with self._lock:
            jobs = [job for job in self.list() if job.what == kind and user_id in job.uses and self._is_abandoned(job)]
            self._drop(jobs)

    def _is_abandoned(self, job: Job[Any]) -> bool:
        if not isinstance(job, StoredJob) or job.ended or job.own or job.local or self._attending:
            return False
        return (job.state == "running" or job.cut_off > 0) and self.worker() is None

    def _runs(self, job: Job[Any]) -> bool:
        """Whether somebody works on a job now; one that runs by the database may have been cut off."""
        if job.state != "running":
            return False
        return not isinstance(job, StoredJob) or job.local or self.worker() is not None

    def _drop(self, jobs: Sequence[Job[Any]]) -> int:
        stored = [job for job in jobs if isinstance(job, StoredJob)]
        self.store.remove([job.id for job in stored])
        for job in jobs:
            self._spool.discard(job.id)
            self._lost_sight(job)
        return len(jobs)

    def _lost_sight(self, job: Job[Any]) -> None:
        self._jobs.pop(job.id, None)
        for line in self._lanes.values():
            for jobs in (line.waiting, line.running):
                if job in jobs and not (isinstance(job, StoredJob) and job.local):
                    jobs.remove(job)
        if isinstance(job, StoredJob):
            job.vanish(Cancelled("The job was removed from the queue."))

    def ask_to_stop(self, job: StoredJob) -> None:
        """Cancel a job wherever it is."""
        sentence = Message("Cancelled before it began.")
        try:
            failed = Failed(code=Cancelled.code, message=sentence)
            state = self.store.cancel(job.id, failed, nobody_works=not self._runs(job))
        except StorageFailed:
            if job.local:
                return
            raise
        with self._lock:
            self._refresh()
            self._lock.notify_all()
        if state == "cancelled":
            self.let_go(job, state)

    def tell(self, job: StoredJob, event: Event) -> None:
        """Write an event of a job that doesn't run here. One that can't be written is left out: it is only said."""
        with contextlib.suppress(StorageFailed):
            self.store.append(job.id, [event], tell=True)
            job.pull()

    # --- working -----------------------------------------------------------------------------------------------------

    def use(self, runners: Sequence[Runner]) -> None:
        """Have the device's lane worked on by these, rather than by the program's own device. Before any job."""
        self._runners = tuple(runners)

    @property
    def slots(self) -> int:
        """How many jobs of the device's lane are worked on at the same time."""
        return max(1, sum(runner.slots for runner in self._runners))

    def attend(self) -> None:
        """Work on everything that is in the queue, as soon as nobody else does, for as long as the process lives."""
        with self._lock:
            self._attending = True
            self._work_too()

    def leave(self) -> None:
        """The end of :meth:`attend`: what runs goes on, then the queue is let go."""
        with self._lock:
            self._attending = False
            self._lock.notify_all()

    def _work_too(self) -> None:
        for name in (DEVICE, NETWORK, BATCH):
            self._lane(name)
        self._start_ticking()
        self._lock.notify_all()

    def submit(self, what: str, subject: str, work: Any, *rest: Any, **more: Any) -> Job[Any]:
        with self._lock:
            self._refresh()
            job = super().submit(what, subject, work, *rest, **more)
            self._work_too()
        return job

    def _lane(self, name: str) -> Lane:
        line = self._line(name)
        if not line.threads:
            self._man(name, line)
        return line

    def _line(self, name: str) -> Lane:
        """The lane of that name, with or without threads."""
        return self._lanes.setdefault(name, Lane())

    def _man(self, name: str, lane: Lane) -> None:
        runners: Sequence[Runner] = self._runners if name == DEVICE else ()
        for runner in runners or (LocalRunner(name, self.kinds),):
            for slot in range(runner.slots):
                self._start(
                    lane,
                    f"easyphoto-jobs-{runner.name}-{slot}",
                    lambda lane, runner=runner: self._serve_on(lane, name, runner),  # type: ignore[misc]
                )

    def _serve_on(self, lane: Lane, name: str, runner: Runner) -> None:
        while True:
            with self._lock:
                while (job := self._next(lane, name, runner)) is None:
                    self._lock.wait()
            if isinstance(job, StoredJob):
                pictures = self._spool.pictures(job.id, job.row.pictures)
                job.run_on(runner, _request(job.row, pictures))
            else:
                job.run()
            self._ended(lane, job)

    def _next(self, lane: Lane, name: str, runner: Runner) -> Job[Any] | None:
        """The first that may begin: of nobody of whom a job is at work, or comes before in the line, but that portraits
        of one person may be made at the same time."""
        # What lives in this process alone and only asks for work (a batch of a command) doesn't wait for who does it.
        if name in (DEVICE, NETWORK) and (not self._working or (self._paused and name == DEVICE)):
            return None
        shown: set[str] = set()
        written: set[str] = set()

        def note(job: Job[Any]) -> None:
            if job.what not in ASKING:
                (shown if job.what in SHARING else written).update(job.uses)

        for line in self._lanes.values():
            for job in line.running:
                note(job)
        for job in lane.waiting:
            taken = set[str]() if job.what in ASKING else written if job.what in SHARING else written | shown
            mine = self._attending or _is_own(job)
            if isinstance(job, StoredJob) and not self._working:
                mine = False  # it is the owner's
            if mine and not taken & job.uses and self._begin(job, runner):
                return self._take(lane, job)
            note(job)
        return None

    def _begin(self, job: Job[Any], runner: Runner) -> bool:
        if not isinstance(job, StoredJob):
            return True
        try:
            return self.store.begin(job.id, runner.name)
        except StorageFailed as error:  # a full disk keeps nobody from what is asked for
            _log.warning("job %s: %s", job.id, error)
            return True

    def _take(self, lane: Lane, job: Job[Any]) -> Job[Any]:
        if isinstance(job, StoredJob):
            job.local = True
        return super()._take(lane, job)

    def _ended(self, lane: Lane, job: Job[Any]) -> None:
        with self._lock:
            if job in lane.running:
                lane.running.remove(job)
            if isinstance(job, StoredJob):
                # Only here, under the lock: what was read of the job before its end must not be taken for news.
                job.local = False
                row = self.store.get(job.id)
                if row is not None:
                    self._mirror(row)  # it may wait again already
            self._forget()
            self._lock.notify_all()

    def _forget(self) -> None:
        ended = sorted((job for job in self._jobs.values() if job.ended), key=lambda job: job.at)
        with contextlib.suppress(StorageFailed):
            self._drop(ended[: max(0, len(ended) - KEPT)])

    def let_go(self, job: StoredJob, state: str) -> None:
        """The pictures of a job that has ended go, but for what a retry can't do without."""
        if state == "finished" or job.what not in KEEP_FOR_RETRY:
            self._spool.discard(job.id)

    def data_of(self, kind: str, result: Any) -> dict[str, Any] | None:
        """A result as plain data."""
        known = self.kinds.get(kind)
        return None if known is None else known.to_data(result)

    def result_of(self, row: JobRow) -> Any:
        """The result of a job that was done elsewhere or before; :class:`NotFound` when it can't be told any more."""
        known = self.kinds.get(row.kind)
        if known is None or row.result is None:
            return row.result
        try:
            return known.from_data(row.result)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise NotFound("What came of the job {job_id} can't be read any more.", job_id=row.id) from error

    # --- beside other programs ---------------------------------------------------------------------------------------

    def _start_ticking(self) -> None:
        if self._ticking is None:
            self._ticking = threading.Thread(target=self._tick, name="easyphoto-queue", daemon=True)
            self._ticking.start()

    def _tick(self) -> None:
        while True:
            try:
                self._claim_or_release()
                if self._unswept:
                    self._sweep()
            except EasyPhotoError as error:
                _log.warning("%s", error)
            with self._lock:
                try:
                    self._catch_up()
                except EasyPhotoError as error:
                    _log.warning("%s", error)
                if not self._is_needed():
                    self._ticking = None
                    self._let_go_of_it()
                    self.store.close()
                    return
                self._lock.notify_all()
                self._lock.wait(TICK)

    def _catch_up(self) -> None:
        """Take over what others did, and write what could not be written before. The lock is held."""
        self._refresh()
        for job in self._stored():
            if job.behind:
                job.flush()

    def _is_needed(self) -> bool:
        return self._attending or self._wants() or any(job.watched and not job.ended for job in self._stored())

    def _wants(self) -> bool:
        """Whether this program has something to do."""
        return self._attending or any(
            (_is_own(job) and not job.ended) or (isinstance(job, StoredJob) and (job.local or job.behind))
            for job in self._jobs.values()
        )

    def _claim_or_release(self) -> None:
        with self._lock:  # whatever begins meanwhile finds the queue owned or not, and nothing in between
            wants = self._wants()
            if self._working and not wants:
                self._let_go_of_it()
        if wants and not self._working and self._owner.claim():
            self._take_over()

    def _take_over(self) -> None:
        """What the owner before this one left waits again: nothing of it runs now. Until that is written nothing
        begins here."""
        if self.store.path.exists():
            self.store.recover(Notice(message=CUT_OFF), FRUITLESS, Failed(code=EasyPhotoError.code, message=GIVEN_UP))
        self._working = self._unswept = True

    def _sweep(self) -> None:
        """Remove pictures that a program which was killed left without a job; later, where somebody else is at it."""
        with contextlib.suppress(TooBusy), self._spool.alone(wait=0):
            self._spool.sweep(self.store.ids()[0])
            self._unswept = False

    def _let_go_of_it(self) -> None:
        self._working = False
        self._owner.release()

    def _stored(self) -> Iterator[StoredJob]:
        return (job for job in tuple(self._jobs.values()) if isinstance(job, StoredJob))

    def _refresh(self) -> None:
        """Take over what the database says. The lock is held."""
        generation = self.store.generation
        if generation != self._generation:
            anew, self._generation, self._seen, self._removals = self._generation != 0, generation, 0, 0
            if anew:
                self._write_again()
        rows, self._seen = self.store.changed_since(self._seen)
        for row in rows:
            self._mirror(row)
        removals = self.store.removals()
        if removals != self._removals:
            there, self._removals = self.store.ids()
            for job in [j for j in self._stored() if j.id not in there]:
                if not job.local:
                    self._lost_sight(job)
        if rows or self._generation:
            self._paused = self.store.paused
        for job in self._stored():
            if job.state == "running":
                job.pull()

    def _mirror(self, row: JobRow) -> None:
        job = self._jobs.get(row.id)
        if not isinstance(job, StoredJob):
            job = self._jobs[row.id] = StoredJob(row, self)
        job.mirror(row)
        line = self._line(row.lane)
        if job in line.running and job.state != "running" and not job.local:
            line.running.remove(job)
        if job in line.waiting and job.state != "queued":
            place = line.waiting.index(job)
            line.waiting.remove(job)
            if self._owner.held:
                line.tell(place)
        if job.local:
            return
        if job.state == "running" and job not in line.running:
            line.running.append(job)
        if job.state == "queued":
            if job not in line.waiting:
                line.waiting.append(job)
            line.waiting.sort(key=_rank)

    def _was_lost(self, sentence: str) -> None:
        self.notice = sentence if isinstance(sentence, Message) else Message(sentence)

    def _write_again(self) -> None:
        """The database is another than before: what this program has in hand, or submitted, goes into it."""
        for job in self._stored():
            if job.ended or not (self._owner.held or job.own):
                continue
            with contextlib.suppress(EasyPhotoError):
                if self.store.get(job.id) is None:
                    self.store.add(job.row, Caps(10**9, 10**18), job.history)
                    if job.local:
                        self.store.begin(job.id, job.row.runner)


def queued(jobs: JobQueue, order: Order, kind: RequestKind[Any], lane: str = DEVICE) -> Job[Any]:
    """Put ``order`` into the queue; one that keeps nothing has it done by ``kind`` from memory."""
    if isinstance(jobs, DurableQueue):
        return jobs.put(order, lane)

    def work(job: Job[Any]) -> Any:
        request = DurableRequest(job.id, order.kind, order.subject, order.uses, order.payload)
        return kind.work(request, job.listener, job.cancelled)

    return jobs.submit(order.kind, order.subject, work, lane, uses=order.uses)


def _request(row: JobRow, pictures: Any) -> DurableRequest:
    return DurableRequest(row.id, row.kind, row.subject, row.uses, row.payload, pictures, row.attempt, row.at)


def _rank(job: Job[Any]) -> float:
    return job.row.rank if isinstance(job, StoredJob) else job.at


def _is_own(job: Job[Any]) -> bool:
    return job.own if isinstance(job, StoredJob) else True
