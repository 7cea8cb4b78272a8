"""Where a table is asked for by a client: checked at once, kept by the queue, and gone on with after a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from easyphoto import messages
from easyphoto.batch import running, table_order
from easyphoto.batch.outcomes import STATES, BatchResult, Outcome
from easyphoto.batch.table_order import KIND, TableOrder
from easyphoto.events import Listener
from easyphoto.jobs import Job
from easyphoto.messages import Message
from easyphoto.queue.port import DurableRequest
from easyphoto.service import EasyPhoto


def register(service: EasyPhoto) -> None:
    """Let the queue of ``service`` do batches. Called by whoever works on everything that is in the queue, before."""
    service.jobs.kinds.setdefault(KIND, TableDesk(service))


def queue(service: EasyPhoto, order: TableOrder) -> Job[BatchResult]:
    """Queue the batch of a table, which outlives this program. :class:`WrongRows` with every fault of every row, and
    nothing is queued then."""
    register(service)
    return service.jobs.put(table_order.queued(order, order.checked(service)), running.LANE)


class TableDesk:
    """The kind of work that the queue does batches as. They are done in the program that owns the queue; what they ask
    for is done by whoever works on portraits."""

    def __init__(self, service: EasyPhoto) -> None:
        self._service = service

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> BatchResult:
        """Make what is missing of the table. Portraits that the same batch had in the queue before it was cut off are
        found where they are made, and stopped where they aren't, by the notes in its folder."""
        batch = table_order.read(request).batch_of_what_is_left(self._service)
        return running.make(self._service, batch, emit, cancelled)

    def to_data(self, result: BatchResult) -> dict[str, Any]:
        return {
            "folder": str(result.folder),
            "report": str(result.report),
            "csv": str(result.csv),
            "outcomes": [_outcome_data(outcome) for outcome in result.outcomes],
        }

    def from_data(self, data: Mapping[str, Any]) -> BatchResult:
        outcomes = tuple(_outcome(one) for one in data["outcomes"])
        return BatchResult(Path(data["folder"]), outcomes, Path(data["report"]), Path(data["csv"]))


def _outcome_data(outcome: Outcome) -> dict[str, Any]:
    message = outcome.message if isinstance(outcome.message, Message) else Message(outcome.message)
    return {
        **asdict(outcome),
        "picture": None if outcome.picture is None else str(outcome.picture),
        "message": messages.to_data(message),
    }


def _outcome(data: Mapping[str, Any]) -> Outcome:
    state = STATES[STATES.index(data["state"])]
    return Outcome(
        line=int(data["line"]),
        name=str(data["name"]),
        subject=str(data["subject"]),
        on=str(data["on"]),
        state=state,
        picture=None if data["picture"] is None else Path(data["picture"]),
        likeness=tuple(map(float, data["likeness"])),
        embedder=str(data["embedder"]),
        seed=None if data["seed"] is None else int(data["seed"]),
        code=str(data["code"]),
        message=messages.from_data(data["message"]),
        words=tuple((str(word), str(photo)) for word, photo in data.get("words", ())),
    )
