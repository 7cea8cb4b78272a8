"""A job that lies in the queue's database: what this process knows of it, and what it writes there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from easyphoto import errors
from easyphoto.errors import Cancelled, EasyPhotoError, StorageFailed
from easyphoto.events import Event, Failed, Portrayed, Progress, RowFailed, TemplateFailed
from easyphoto.jobs import Job, State
from easyphoto.queue.database import JobRow, QueueStore
from easyphoto.queue.port import DurableRequest, Runner

_log = logging.getLogger(__name__)
FLUSH = 0.25
"""Seconds between two writes of progress; everything else is written at once."""


def _nowhere(job: Job[Any]) -> None:
    """What is done with a job before a runner has it."""


class JobKeeper(Protocol):
    """What a stored job asks of the queue that keeps it."""

    store: QueueStore

    def watch(self, job: StoredJob) -> None:
        """Somebody here follows this job: what becomes of it elsewhere is looked for until it has ended."""

    def ask_to_stop(self, job: StoredJob) -> None:
        """Cancel a job wherever it is."""

    def tell(self, job: StoredJob, event: Event) -> None:
        """Write an event of a job that doesn't run here."""

    def let_go(self, job: StoredJob, state: str) -> None:
        """Remove the pictures of a job that has ended."""

    def data_of(self, kind: str, result: Any) -> dict[str, Any] | None:
        """A result as plain data."""

    def result_of(self, row: JobRow) -> Any:
        """The result of a job that was done elsewhere or before."""


class StoredJob(Job[Any]):
    """A job of the queue's database, as :class:`Job` shows it.

    While it runs here (``local``), memory is ahead of the database, which follows; else the database is read.
    ``own``: it was submitted by this process.
    """

    def __init__(self, row: JobRow, queue: JobKeeper) -> None:
        super().__init__(row.kind, row.subject, _nowhere, uses=row.uses)
        self.id = row.id
        self.at = row.at
        self.row = row
        self.own = False
        self.local = False
        self.watched = False
        self._queue = queue
        self._unwritten: list[Event] = []
        self._unended: tuple[State, dict[str, Any] | None] | None = None
        self._flushing = threading.Lock()
        self._flushed = 0.0
        self._first = 0

    # --- what everybody asks -----------------------------------------------------------------------------------------

    @property
    def cut_off(self) -> int:
        return self.row.attempt

    @property
    def can_be_retried(self) -> bool:
        return self.state in ("failed", "cancelled")

    def events(self, after: int = 0, *, follow: bool = True, poll: float = 15.0) -> Iterator[tuple[int, Event]]:
        if follow:
            self._queue.watch(self)
        return super().events(after, follow=follow, poll=poll)

    def wait(self, timeout: float | None = None) -> Any:
        self._queue.watch(self)
        result = super().wait(timeout)
        if result is None and self.row.result is not None:
            self._result = result = self._queue.result_of(self.row)
        return result

    def cancel(self) -> None:
        """Ask the job to stop, wherever it runs. :class:`StorageFailed` when one that runs elsewhere can't be told."""
        if self.local:
            self._cancel.set()
        self._queue.ask_to_stop(self)

    def emit(self, event: Event) -> None:
        """Add an event. Of one that was begun again, what was told before is not told twice. A preview is never
        written."""
        if self._is_passing(event):
            return
        if not self.local:
            self._queue.tell(self, event)
            return
        now = time.monotonic()
        with self._changed:
            if self._is_repeated(event):
                return
            self._events.append(event)
            self._unwritten.append(event)
            self._changed.notify_all()
            due = not isinstance(event, Progress) or now - self._flushed > FLUSH
        if due:
            self.flush()

    def _is_repeated(self, event: Event) -> bool:
        before = self._events[: self._first]
        if isinstance(event, Portrayed):
            return any(isinstance(e, Portrayed) and e.path == event.path for e in before)
        if isinstance(event, RowFailed):
            told = (event.line, event.subject, event.message)
            return any(isinstance(e, RowFailed) and (e.line, e.subject, e.message) == told for e in before)
        if isinstance(event, TemplateFailed):
            return any(
                isinstance(e, TemplateFailed) and (e.template, e.message) == (event.template, event.message)
                for e in before
            )
        return False

    # --- running -----------------------------------------------------------------------------------------------------

    def run_on(self, runner: Runner, request: DurableRequest) -> None:
        """Have the work done by ``runner``. Called once an attempt, by the queue, which has marked it as begun and
        ``local``, and says when it isn't any more."""
        self._pull()
        self._first = len(self._events)
        self._work = lambda job: runner.run(request, job.listener, job.cancelled)
        self.run()

    def _succeed(self, result: Any) -> None:
        self._save_end("finished", self._queue.data_of(self.what, result))
        super()._succeed(result)

    def _fail(self, error: EasyPhotoError) -> None:
        with self._changed:
            self._unwritten.append(Failed(code=error.code, message=error.message))
        self._save_end("cancelled" if isinstance(error, Cancelled) else "failed", None)
        super()._fail(error)

    def _save_end(self, state: State, data: dict[str, Any] | None) -> None:
        """Before anybody here hears of the end: a program that leaves then has left nothing to be done again."""
        self._unended = (state, data)
        self.flush()

    def flush(self) -> None:
        """Write what is not written yet; what can't be written waits for the next time."""
        with self._flushing:
            with self._changed:
                fresh, self._unwritten = self._unwritten, []
            self._flushed = time.monotonic()
            try:
                if fresh:
                    self._queue.store.append(self.id, fresh)
                    fresh = []
                if self._unended is not None:
                    self._queue.store.end(self.id, *self._unended)
                    self._queue.let_go(self, self._unended[0])
                    self._unended = None
            except StorageFailed as error:
                _log.warning("job %s: %s", self.id, error)
                with self._changed:
                    self._unwritten = fresh + self._unwritten

    @property
    def behind(self) -> bool:
        """Whether the database doesn't know all yet."""
        return bool(self._unwritten) or self._unended is not None

    # --- what others do with it --------------------------------------------------------------------------------------

    def mirror(self, row: JobRow) -> None:
        """Take over how the job stands in the database."""
        self.row = row
        if self.local or self.behind:
            if row.cancel:
                self._cancel.set()
            return
        self._pull()
        with self._changed:
            if self.state == row.state:
                return
            if row.ended:
                self._error = self._error_told() if row.state != "finished" else None
                self._end(row.state)
                return
            self.state, self._error, self._result, self._work = row.state, None, None, _nowhere
            self._cancel.clear()
            self._changed.notify_all()

    def _pull(self) -> None:
        """Read the events that others have written."""
        fresh = self._queue.store.events(self.id, len(self._events))
        if fresh:
            with self._changed:
                self._events.extend(fresh)
                self._changed.notify_all()

    def pull(self) -> None:
        """Read what is new of a job that runs elsewhere."""
        if not self.local and not self.behind:
            self._pull()

    def vanish(self, error: EasyPhotoError) -> None:
        """It was removed from the database: whoever waits for it hears why."""
        if not self.ended and not self.local:
            super()._fail(error)

    def _error_told(self) -> EasyPhotoError:
        failed = next((e for e in reversed(self._events) if isinstance(e, Failed)), None)
        if failed is None:
            return Cancelled("Cancelled before it began.") if self.row.state == "cancelled" else EasyPhotoError()
        return errors.of(failed.code)(failed.message)

    @property
    def history(self) -> list[Event]:
        """All events so far."""
        with self._changed:
            return list(self._events)
