"""A batch of portraits on its way: what is there is passed over, the rest goes through the service's queue, and what
one row meets is that row's alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from easyphoto.batch import contact_page
from easyphoto.batch.forecast import Forecast, PaceBook, Stopwatch, total_bytes, total_seconds
from easyphoto.batch.job_notes import JobNotes
from easyphoto.batch.made import MadePortraits
from easyphoto.batch.one_at_a_time import one_at_a_time
from easyphoto.batch.outcomes import FAILED, MADE, THERE, BatchResult, Outcome, OutcomeState, likeness_in, words_in
from easyphoto.batch.pieces import Piece
from easyphoto.disk import free_bytes
from easyphoto.errors import Cancelled, EasyPhotoError, StorageFailed, TooBusy
from easyphoto.events import Finished, Listener, Notice, Portrayed, Progress, RowFailed
from easyphoto.filenames import safe
from easyphoto.jobs import BATCH, Job, new_id
from easyphoto.messages.languages import ENGLISH
from easyphoto.service import EasyPhoto, PortraitResult
from easyphoto.storage import portraits

LANE = BATCH
"""Batches wait for one another; their portraits wait for the device."""
STAGE = "batch"
AHEAD = 2
"""Portraits for each device that are in the queue at the same time: none ever waits, and others come between."""
POLL = 0.2
"""Seconds between two looks whether a batch was cancelled."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What is to be made: the portraits of a table, and the folder that they, and the report, go into."""

    name: str
    folder: Path
    pieces: tuple[Piece, ...]
    language: str = ENGLISH
    ahead: int = AHEAD
    refused: tuple[Outcome, ...] = ()
    """The rows that can't be asked for any more, each with its reason: they fail alone."""


def folder_of(service: EasyPhoto, name: str) -> Path:
    """Where the portraits of a table of that name go, unless somebody says otherwise."""
    return service.paths.portraits / f"batch-{safe(Path(name).stem, 80, 'table')}"


def forecast(service: EasyPhoto, batch: Batch) -> Forecast:
    """What is there, and what the rest takes. Writes nothing."""
    made = MadePortraits(batch.folder, (service.paths.portraits,))
    missing = [piece for piece in batch.pieces if made.find(piece) is None]
    wanted = [(piece.checkpoint.name, piece.steps) for piece in missing]
    sources = [((*piece.request.templates, None)[0], piece.request.config) for piece in missing]
    return Forecast(
        total=len(batch.pieces),
        there=len(batch.pieces) - len(missing),
        seconds=total_seconds(PaceBook(service.paths), wanted),
        bytes=total_bytes(sources),
        free=free_bytes(batch.folder),
    )


def start(service: EasyPhoto, batch: Batch) -> Job[BatchResult]:
    """Queue the batch. The job's events tell how far it is, and in the end ``Finished`` or why it stopped."""
    sources = {source for piece in batch.pieces for source in (*piece.request.templates, piece.request.pose_template)}
    return service.jobs.submit(
        "batch",
        batch.name,
        lambda job: make(service, batch, job.emit, job.cancelled),
        lane=LANE,
        holds=sum(len(source) for source in sources if isinstance(source, bytes)),
    )


def make(service: EasyPhoto, batch: Batch, emit: Listener, cancelled: Callable[[], bool]) -> BatchResult:
    """Make what is missing of the batch, as the work of a job that ``emit`` and ``cancelled`` belong to. Raises
    :class:`Cancelled`, :class:`StorageFailed`, and :class:`InvalidRequest` while another program makes it."""
    with one_at_a_time(batch.folder):
        return _PortraitRun(service, batch, emit, cancelled).work()


class _PortraitRun:
    """One batch while it runs."""

    def __init__(self, service: EasyPhoto, batch: Batch, emit: Listener, cancelled: Callable[[], bool]) -> None:
        self._emit = emit
        self._cancelled = cancelled
        self._service = service
        self._batch = batch
        self._made = MadePortraits(batch.folder, (service.paths.portraits,), mine=JobNotes(batch.folder).read())
        self._outcomes = {id(piece): _untouched(piece) for piece in batch.pieces}
        self._left = {id(piece): (piece.checkpoint.name, piece.steps) for piece in batch.pieces}
        self._places = {id(piece): place for place, piece in enumerate(batch.pieces)}
        self._in_queue = JobNotes(batch.folder)
        self._waiting: deque[tuple[Piece, Job[PortraitResult]]] = deque()
        self._book = PaceBook(service.paths)
        self._clock = Stopwatch()
        self._slots = service.jobs.slots
        self._taken: list[float] = []
        self._warm = False
        self._told: set[str] = set()

    def work(self) -> BatchResult:
        """Make what is missing, then the report. Raises :class:`Cancelled` and :class:`StorageFailed`, with what is
        there kept and reported."""
        stopped: EasyPhotoError | None = None
        try:
            self._in_queue.end_left(self._service)
            self._make(self._missing())
        except (Cancelled, StorageFailed) as error:
            stopped = error
            self._withdraw()
        result = concluded(self._batch, self._in_queue, self._in_order(), stopped)
        self._emit(Finished(result=result.data()))
        return result

    def _in_order(self) -> list[Outcome]:
        found = [self._outcomes[id(piece)] for piece in self._batch.pieces]
        return sorted([*found, *self._batch.refused], key=lambda outcome: outcome.line)

    def _missing(self) -> list[Piece]:
        """What isn't there yet; what is there is brought to its place."""
        for row in self._batch.refused:
            self._emit(RowFailed(line=row.line, subject=row.subject, code=row.code, message=row.message))
        missing = []
        for piece in self._batch.pieces:
            if self._cancelled():
                raise Cancelled("Stopped.")
            path = self._made.there(piece)
            if path is None:
                missing.append(piece)
            else:
                self._tell(piece, THERE, path)
        self._progress()
        return missing

    def _make(self, missing: Sequence[Piece]) -> None:
        left = deque(missing)
        self._clock.lap()
        while left or self._waiting:
            if left and len(self._waiting) < self._batch.ahead * self._slots and self._ask(left[0]):
                left.popleft()
            elif self._waiting:
                self._end_of(*self._waiting.popleft())
            if self._cancelled():
                raise Cancelled("Stopped.")

    def _ask(self, piece: Piece) -> bool:
        """Put a portrait into the queue; False where the queue is full and has to become shorter first."""
        try:
            job = new_id()  # noted before there is such a job: a kill at any moment leaves none that nobody knows
            self._in_queue.write([*(asked.id for _, asked in self._waiting), job])
            self._waiting.append((piece, self._service.generate(piece.request, job=job)))
        except StorageFailed:
            raise  # as every other row would meet it
        except TooBusy:
            if not self._waiting:
                time.sleep(POLL)
            return False
        except EasyPhotoError as error:
            self._fail(piece, error)
        return True

    def _end_of(self, piece: Piece, asked: Job[PortraitResult]) -> None:
        """Wait for a portrait and bring it to its place. Raises :class:`StorageFailed`, which all others would meet."""
        try:
            result = self._wait_for(asked)
            made = next(portrait.path for portrait in result.portraits if portrait.path is not None)
        except StorageFailed as error:
            self._fail(piece, error)
            raise
        except EasyPhotoError as error:
            if self._cancelled():
                raise Cancelled("Stopped.") from error
            self._fail(piece, error)
            return
        finally:
            self._pass_on_notices(asked)
        self._tell(piece, MADE, self._made.put(made, piece))
        seconds = self._clock.lap()
        if self._warm:  # the first loads the models
            # Several at once end in bursts, so that only their mean says how long one takes.
            self._taken = [*self._taken, seconds][-8 * self._slots :] if self._slots > 1 else [seconds]
            self._book.took(piece.checkpoint.name, piece.steps, sum(self._taken) / len(self._taken))
        self._warm = True
        self._progress()

    def _wait_for(self, asked: Job[PortraitResult]) -> PortraitResult:
        while True:
            try:
                return asked.wait(POLL)
            except TimeoutError:
                self._pass_on_notices(asked)  # why it waits may be among them
                if self._cancelled():
                    self._cancel_waiting()  # first: else the next one begins as soon as this one ends
                    asked.cancel()

    def _cancel_waiting(self) -> None:
        """Cancel what waits in the queue, the last first, so that none begins because the one before it is gone."""
        for _, asked in reversed(self._waiting):
            asked.cancel()

    def _withdraw(self) -> None:
        """Let nothing wait any more; a portrait that was made meanwhile still counts."""
        self._cancel_waiting()
        while self._waiting:
            piece, asked = self._waiting.popleft()
            try:
                made = next(p.path for p in asked.wait().portraits if p.path is not None)
                self._tell(piece, MADE, self._made.put(made, piece))
            except (EasyPhotoError, StopIteration):
                continue

    def _tell(self, piece: Piece, state: OutcomeState, path: Path) -> None:
        recipe = portraits.recipe_in(path) or {}
        likeness, embedder = likeness_in(recipe)
        self._left.pop(id(piece), None)
        known = self._outcomes[id(piece)]
        self._outcomes[id(piece)] = replace(
            known, state=state, picture=path, likeness=likeness, embedder=embedder, words=words_in(recipe)
        )
        self._emit(
            Portrayed(
                template=self._places[id(piece)],
                path=str(path),
                likeness=likeness,
                embedder=embedder,
                fresh=state == MADE,
            )
        )

    def _fail(self, piece: Piece, error: EasyPhotoError) -> None:
        known = self._outcomes[id(piece)]
        self._outcomes[id(piece)] = replace(known, state=FAILED, code=error.code, message=error.message)
        self._left.pop(id(piece), None)
        self._emit(RowFailed(line=piece.line, subject=piece.people, code=error.code, message=error.message))
        self._clock.lap()
        self._progress()

    def _pass_on_notices(self, asked: Job[PortraitResult]) -> None:
        """What a portrait's job says is told once, however many rows it meets."""
        for _, event in asked.events(follow=False):
            if isinstance(event, Notice) and event.message not in self._told:
                self._told.add(event.message)
                self._emit(Notice(message=event.message))

    def _progress(self) -> None:
        seconds = total_seconds(self._book, self._left.values())
        total, left = len(self._outcomes) + len(self._batch.refused), len(self._left)
        self._emit(Progress(stage=STAGE, step=total - left, total=total, seconds_left=seconds))


def _untouched(piece: Piece) -> Outcome:
    return Outcome(line=piece.line, name=piece.name, subject=piece.people, on=piece.template, seed=piece.seed)


class Reported(Protocol):
    """Any batch, as its report needs it."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def language(self) -> str: ...


def concluded(
    batch: Reported, in_queue: JobNotes, outcomes: Sequence[Outcome], stopped: EasyPhotoError | None
) -> BatchResult:
    """Write the report of a batch that has ended. Raises the sentence of one that was ``stopped`` by an error, or whose
    report can't be written."""
    try:
        in_queue.write(())
        result = contact_page.write(batch.name, batch.folder, outcomes, batch.language)
    except StorageFailed as error:
        raise _ended_early(stopped or error, outcomes) from error
    if stopped is not None:
        raise _ended_early(stopped, outcomes)
    return result


def _ended_early(error: EasyPhotoError, outcomes: Sequence[Outcome]) -> EasyPhotoError:
    """The sentence of a batch that did not come to its end."""
    there = sum(outcome.state in (MADE, THERE) for outcome in outcomes)
    if isinstance(error, Cancelled):
        return Cancelled(
            "The batch was stopped: {there} of {total} are there; start it again to make the rest.",
            there=there,
            total=len(outcomes),
        )
    return StorageFailed(
        "{error} The batch was stopped: {there} of {total} are there; make room and start it again to make the rest.",
        error=error,
        there=there,
        total=len(outcomes),
    )
