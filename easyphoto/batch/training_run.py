"""A batch of trainings on its way: who is trained is passed over, who was stopped half-way goes on, and what one
training meets is that person's alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from easyphoto.batch.forecast import Forecast, PaceBook, Stopwatch, total_seconds
from easyphoto.batch.job_notes import JobNotes
from easyphoto.batch.one_at_a_time import one_at_a_time
from easyphoto.batch.outcomes import FAILED, LEFT, MADE, THERE, BatchResult, Outcome, OutcomeState
from easyphoto.batch.people_folders import PersonToTrain, standing
from easyphoto.batch.running import LANE, POLL, STAGE, concluded
from easyphoto.disk import free_bytes
from easyphoto.errors import Cancelled, EasyPhotoError, StorageFailed
from easyphoto.events import Failed, Finished, Progress, Queued, RowFailed
from easyphoto.filenames import safe
from easyphoto.jobs import Job
from easyphoto.messages.languages import ENGLISH
from easyphoto.people import Person
from easyphoto.service import EasyPhoto


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """Who is to be trained, and the folder that the report goes into."""

    name: str
    folder: Path
    people: tuple[PersonToTrain, ...]
    language: str = ENGLISH


def report_folder(service: EasyPhoto, name: str) -> Path:
    """Where the report of trainings goes, unless somebody says otherwise."""
    return service.paths.trainings / safe(name, 80, "people")


def forecast(service: EasyPhoto, batch: TrainingBatch) -> Forecast:
    """Who is trained, and what the rest takes. Writes nothing."""
    missing = [one for one in batch.people if standing(one, service) != "trained"]
    return Forecast(
        total=len(batch.people),
        there=len(batch.people) - len(missing),
        seconds=total_seconds(PaceBook(service.paths), [(_pace_of(one), one.steps) for one in missing]),
        bytes=_usual_size(service, len(missing)),
        free=free_bytes(service.paths.people),
        what="trainings",
    )


def _usual_size(service: EasyPhoto, count: int) -> int | None:
    """What so many people take, from the largest who is there."""
    sizes = [person.size() for person in service.people.list()]
    return max(sizes) * count if sizes else None


def _pace_of(person: PersonToTrain) -> str:
    return f"train {person.checkpoint.name} {person.config.resolution}"


def start(service: EasyPhoto, batch: TrainingBatch) -> Job[BatchResult]:
    """Queue the batch; see :func:`easyphoto.batch.running.start`."""
    return service.jobs.submit("batch", batch.name, lambda job: _run(job, service, batch), lane=LANE)


def _run(job: Job[BatchResult], service: EasyPhoto, batch: TrainingBatch) -> BatchResult:
    with one_at_a_time(batch.folder):
        return _TrainingRun(job, service, batch).work()


class _TrainingRun:
    """One batch while it runs."""

    def __init__(self, job: Job[BatchResult], service: EasyPhoto, batch: TrainingBatch) -> None:
        self._job = job
        self._service = service
        self._batch = batch
        self._outcomes = {
            one.user_id: Outcome(0, f"{number}", one.user_id) for number, one in enumerate(batch.people, 1)
        }
        self._left = {one.user_id: (_pace_of(one), one.steps) for one in batch.people}
        self._book = PaceBook(service.paths)
        self._slots = service.jobs.slots
        self._stopping = threading.Event()
        self._in_queue = JobNotes(batch.folder)

    def work(self) -> BatchResult:
        """Train who isn't trained, then the report. Raises :class:`Cancelled` and :class:`StorageFailed`, with what is
        there kept and reported."""
        stopped: EasyPhotoError | None = None
        try:
            self._in_queue.end_left(self._service)
            with ThreadPoolExecutor(self._slots, "easyphoto-batch") as devices:
                trainings = [devices.submit(self._one, person) for person in self._batch.people]
                for training in trainings:
                    training.result()
            self._progress()
        except (Cancelled, StorageFailed) as error:
            stopped = error
        result = concluded(self._batch, self._in_queue, list(self._outcomes.values()), stopped)
        self._job.emit(Finished(result=result.data()))
        return result

    def _one(self, person: PersonToTrain) -> None:
        """Train somebody, unless the batch has to end. Raises what ends it, and then nobody else begins."""
        if self._stopping.is_set():
            return
        try:
            self._progress()
            if self._job.cancelled():
                raise Cancelled("Stopped.")
            self._train(person)
        except BaseException:
            self._stopping.set()
            raise

    def _train(self, one: PersonToTrain) -> None:
        """Raises :class:`Cancelled` where the batch was, and :class:`StorageFailed`, which all others would meet."""
        stands = standing(one, self._service)
        if stands == "trained":
            self._tell(self._service.people.get(one.user_id), THERE)
            return
        clock = Stopwatch()
        try:
            asked = self._service.train(replace(one.request, resume=stands == "stopped"))
            self._in_queue.add(asked.id)
            person = self._follow(asked)
        except StorageFailed as error:
            self._fail(one, error)
            raise
        except EasyPhotoError as error:
            if self._job.cancelled() or self._stopping.is_set():
                raise Cancelled("Stopped.") from error
            self._fail(one, error)
            return
        if stands == "new":
            self._book.took(_pace_of(one), one.steps, clock.lap())
        self._tell(person, MADE)

    def _follow(self, asked: Job[Person]) -> Person:
        """Wait for a training and pass on what it says."""
        seen = 0
        try:
            while True:
                seen = self._pass_on(asked, seen)
                try:
                    return asked.wait(POLL)
                except TimeoutError:
                    if self._job.cancelled() or self._stopping.is_set():
                        asked.cancel()
        finally:
            self._pass_on(asked, seen)

    def _pass_on(self, asked: Job[Person], seen: int) -> int:
        """Tell what a training has said since event number ``seen``. Returns the number of its last event."""
        for number, event in asked.events(seen, follow=False):
            seen = number
            if isinstance(event, Queued | Finished | Failed):
                continue
            if self._slots == 1 or not isinstance(event, Progress):  # steps of several people are no progress
                self._job.emit(event)
        return seen

    def _tell(self, person: Person, state: OutcomeState) -> None:
        known = self._outcomes[person.user_id]
        likeness = () if person.likeness is None else (person.likeness,)
        picture = person.reference if person.face_id is None else person.face_id
        self._outcomes[person.user_id] = replace(
            known, state=state, picture=picture, likeness=likeness, embedder=person.embedder
        )
        self._left.pop(person.user_id)

    def _fail(self, one: PersonToTrain, error: EasyPhotoError) -> None:
        known = self._outcomes[one.user_id]
        self._outcomes[one.user_id] = replace(known, state=FAILED, code=error.code, message=error.message)
        self._left.pop(one.user_id)
        self._job.emit(RowFailed(subject=one.user_id, code=error.code, message=error.message))

    def _progress(self) -> None:
        summed = total_seconds(self._book, tuple(self._left.values()))
        seconds = None if summed is None else summed / self._slots
        total, left = len(self._outcomes), sum(one.state == LEFT for one in self._outcomes.values())
        self._job.emit(Progress(stage=STAGE, step=total - left, total=total, seconds_left=seconds))
