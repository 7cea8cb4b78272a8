"""A table as a client sent it, with its pictures, and the same as a request that the queue keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from easyphoto.batch import rows
from easyphoto.batch.faults import Fault, WrongRows
from easyphoto.batch.given import SentPlaces
from easyphoto.batch.outcomes import FAILED, Outcome
from easyphoto.batch.pieces import Piece, each_row, pieces
from easyphoto.batch.running import Batch, folder_of
from easyphoto.batch.table import Table, TableRow
from easyphoto.errors import InvalidRequest
from easyphoto.messages.languages import ENGLISH
from easyphoto.pictures import Source
from easyphoto.queue.port import DurableRequest, Order
from easyphoto.service import EasyPhoto
from easyphoto.storage.batch_reports import BETWEEN

KIND = "batch"


@dataclass(frozen=True, eq=False)
class TableOrder:
    """A table whose portraits are to be made. ``title`` is what the batch is called, ``file`` the name of the table by
    which its folder is called; ``sent`` are the pictures that came with it, by the names that its rows have for them.
    """

    table: Table
    title: str
    file: str
    sent: Mapping[str, Source]
    language: str = ENGLISH

    def checked(self, service: EasyPhoto) -> tuple[rows.AskedRow, ...]:
        """Every row, checked. :class:`WrongRows` where one of them is wrong."""
        return rows.require(self.table, service, self._places(service))

    def batch(self, service: EasyPhoto) -> Batch:
        """The batch of the table. :class:`WrongRows` where one of its rows is wrong."""
        asked = self.checked(service)
        return Batch(self.title, folder_of(service, self.file), tuple(pieces(asked, service)), self.language)

    def batch_of_what_is_left(self, service: EasyPhoto) -> Batch:
        """The batch of a table that was right when it came. A row that isn't any more, as somebody on it was deleted,
        is refused alone. :class:`WrongRows` where the table as a whole is wrong now."""
        found = rows.check(self.table, service, self._places(service))
        wrong = _by_line(found.faults)
        refused: list[Outcome] = []
        for row in self.table.rows:
            if row.line in wrong:
                refused.append(_refused(row, wrong.pop(row.line)))
        if wrong:
            raise WrongRows(self.table.name, found.faults)
        lines = {outcome.line for outcome in refused}
        made: list[Piece] = []
        for asked, these in each_row((row for row in found.orders if row.line not in lines), service):
            if isinstance(these, list):
                made += these
            else:
                who = BETWEEN.join(asked.user_ids)
                refused.append(Outcome(asked.line, "", who, state=FAILED, code=these.code, message=these.message))
        return Batch(self.title, folder_of(service, self.file), tuple(made), self.language, refused=tuple(refused))

    def _places(self, service: EasyPhoto) -> SentPlaces:
        return SentPlaces(self.sent, service.templates)


def _by_line(faults: tuple[Fault, ...]) -> dict[int, Fault]:
    """The first fault of each line."""
    found: dict[int, Fault] = {}
    for fault in faults:
        found.setdefault(fault.line, fault)
    return found


def _refused(row: TableRow, fault: Fault) -> Outcome:
    values = {rows.COLUMNS.get(column.strip().lower()): value for column, value in row.values.items()}
    who, on = (_text(values.get(meaning, "")) for meaning in (rows.USER, rows.TEMPLATE))
    return Outcome(row.line, "", who, on, FAILED, code=InvalidRequest.code, message=fault.message)


def _text(value: Any) -> str:
    several = value if isinstance(value, list) else str(value).split(rows.SEVERAL)
    return BETWEEN.join(str(one).strip() for one in several)


def queued(order: TableOrder, asked: tuple[rows.AskedRow, ...]) -> Order:
    """What the queue keeps of ``order``, whose rows are ``asked``."""
    table = order.table
    payload = {
        "title": order.title,
        "file": order.file,
        "language": order.language,
        "sent": list(order.sent),
        "table": {
            "name": table.name,
            "typed": table.typed,
            "header": table.header,
            "columns": list(table.columns),
            "rows": [[row.line, dict(row.values)] for row in table.rows],
        },
    }
    people = (person for row in asked for person in (*row.accepted.people, row.accepted.scene))
    uses = tuple(dict.fromkeys(person.user_id for person in people if person is not None))
    return Order(KIND, order.title, uses, payload, tuple(order.sent.values()))


def read(request: DurableRequest) -> TableOrder:
    """The order of :func:`queued`, with the pictures as they lie in the queue. Raises :class:`InvalidRequest` when it
    can't be read or its pictures are gone."""
    try:
        data, table = request.payload, request.payload["table"]
        called = [str(name) for name in data["sent"]]
        given = [picture.source for picture in request.pictures]
        if len(given) != len(called):
            raise InvalidRequest("The templates of this request are not kept any more: ask for it anew.")
        return TableOrder(
            Table(
                name=str(table["name"]),
                rows=tuple(TableRow(int(line), dict(values)) for line, values in table["rows"]),
                typed=bool(table["typed"]),
                header=None if table["header"] is None else int(table["header"]),
                columns=tuple(map(str, table["columns"])),
            ),
            title=str(data["title"]),
            file=str(data["file"]),
            sent=dict(zip(called, given, strict=True)),
            language=str(data["language"]),
        )
    except OSError as error:
        raise InvalidRequest(
            "The pictures of this request can't be read: {reason}.", reason=error.strerror or error
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            "The request {job} in the queue can't be read: ask for it anew.", job=request.job
        ) from error
