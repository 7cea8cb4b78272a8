"""A table of rows as somebody wrote it: CSV, JSON Lines or YAML, read without trust.

Nothing of a table is run, followed or multiplied: YAML comes without tags, anchors and aliases, and all three are
bounded in bytes and rows. What is wrong with a row is a fault with its line, and the other rows are still read.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from easyphoto.batch.faults import Fault, shortened
from easyphoto.errors import InvalidRequest
from easyphoto.filenames import shown
from easyphoto.messages import Message

MAX_TABLE = 32 * 2**20
"""Bytes of a table."""
MAX_ROWS = 100_000
DELIMITERS = ",;\t"
FORMATS: Mapping[str, str] = MappingProxyType({
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".yaml": "yaml", ".yml": "yaml",
})  # fmt: skip
"""The ending of a file -> how its table is written."""
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
"""How YAML writes that there is no value."""


@dataclass(frozen=True, eq=False)
class TableRow:
    """The values of one row by the names of their columns; what was left empty isn't there."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Table:
    """What was read. ``typed``: values are JSON's own; otherwise they are texts, or lists of texts. ``header`` is the
    line that names the columns of all rows, None where each row names its own."""

    name: str
    rows: tuple[TableRow, ...]
    faults: tuple[Fault, ...] = ()
    typed: bool = False
    header: int | None = None
    columns: tuple[str, ...] = ()


def read(path: Path) -> Table:
    """The table in a file, whose ending says how it is written. :class:`InvalidRequest` when it is no table."""
    name = shown(path.name)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InvalidRequest(
            "{name} is no table: give a file that ends in {endings}.", name=name, endings=", ".join(FORMATS)
        )
    try:
        if not path.is_file():
            raise InvalidRequest("{name} does not exist.", name=name)
        with path.open("rb") as file:
            data = file.read(MAX_TABLE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest("{name} can't be opened ({reason}).", name=name, reason=reason) from error
    return parse(data, kind, name)


def parse(data: bytes, kind: str, name: str) -> Table:
    """The table in ``data``, written as ``kind`` of :data:`FORMATS` says; ``name`` is what sentences call it."""
    if len(data) > MAX_TABLE:
        raise InvalidRequest("{name} is larger than {size} MB.", name=name, size=MAX_TABLE // 2**20)
    text = _text(data, name)
    reader: dict[str, Callable[[str, str], Table]] = {"csv": _csv, "jsonl": _json_lines, "yaml": _yaml}
    if kind not in reader:
        raise InvalidRequest(
            "{name} is no table: its format must be one of {choices}.", name=name, choices=", ".join(reader)
        )
    return _bounded(reader[kind](text, name))


def of_rows(rows: Sequence[Mapping[str, Any]], name: str) -> Table:
    """The table of rows that came as data; their lines are counted from 1."""
    kept = tuple(TableRow(i, _filled(row)) for i, row in enumerate(rows, 1))
    return _bounded(Table(name, kept, typed=True))


def _bounded(table: Table) -> Table:
    if not table.rows and not table.faults:
        raise InvalidRequest("There are no rows in {name}.", name=table.name)
    if len(table.rows) > MAX_ROWS:
        raise InvalidRequest(
            "{name} has {count} rows; at most {most} can be taken.",
            name=table.name,
            count=len(table.rows),
            most=MAX_ROWS,
        )
    return table


def _text(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidRequest(
            "{name} is not written in UTF-8: save it as UTF-8 (in Excel: CSV UTF-8) and give it again.", name=name
        )
    return text


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that were left empty."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


# --- CSV -------------------------------------------------------------------------------------------------------------


def _csv(text: str, name: str) -> Table:
    """Commas, semicolons or tabs, whichever the line with the names of the columns has most of."""
    hint, rest = _excels_hint(text)
    delimiter = hint or _delimiter(rest)
    faults: list[Fault] = []
    records = _records(rest, delimiter, 1 if hint else 0, faults)
    header, names = next(records, (0, []))
    columns = [column.strip() for column in names]
    faults += [
        Fault(header, Message("There are two columns {column!r}.", column=column))
        for column, count in Counter(columns).items()
        if count > 1 and column
    ]
    rows = []
    for line, cells in records:
        extra = [cell for i, cell in enumerate(cells) if cell and (i >= len(columns) or not columns[i])]
        if extra:
            faults.append(Fault(line, Message("The value {value!r} stands in no column.", value=shortened(extra[0]))))
        else:
            rows.append(TableRow(line, _filled(dict(zip(columns, cells, strict=False)))))
    return Table(name, tuple(rows), tuple(faults), header=header, columns=tuple(c for c in columns if c))


def _excels_hint(text: str) -> tuple[str, str]:
    """The delimiter of a first line ``sep=;``, as Excel writes it, and the text behind that line."""
    first, end, rest = text.partition("\n")
    said = first.strip().strip('"')
    return (said[4], rest) if end and len(said) == 5 and said.lower().startswith("sep=") else ("", text)


def _delimiter(text: str) -> str:
    header = next((line for line in io.StringIO(text) if line.strip()), "")
    plain = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=plain.count)


def _records(text: str, delimiter: str, before: int, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """The line at which each record begins and its cells; ``before`` lines were taken off. Empty ones are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1 + before
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            faults.append(Fault(line, _csv_fault(error)))
            continue
        if any(cells):
            yield line, cells


def _csv_fault(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return Message('The quotation mark " that opens here is never closed.')
    return Message("This is no CSV: {reason}.", reason=str(error))


# --- JSON Lines ------------------------------------------------------------------------------------------------------


def _json_lines(text: str, name: str) -> Table:
    rows, faults = [], []
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            data = json.loads(written, object_pairs_hook=_once_each, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            faults.append(
                Fault(line, Message("This is no JSON: {reason} at character {at}.", reason=error.msg, at=error.colno))
            )
        except (ValueError, RecursionError) as error:
            reason = shortened(str(error)) if isinstance(error, ValueError) else Message("it is nested too deeply")
            faults.append(Fault(line, Message("This is no JSON: {reason}.", reason=reason)))
        else:
            if isinstance(data, dict):
                rows.append(TableRow(line, _filled(data)))
            else:
                faults.append(Fault(line, Message("A row is one JSON object in braces.")))
    return Table(name, tuple(rows), tuple(faults), typed=True)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{name!r} stands there twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


# --- YAML ------------------------------------------------------------------------------------------------------------


def _yaml(text: str, name: str) -> Table:
    """Read from YAML's events, so that nothing is constructed and an alias is seen before it stands for anything."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows: list[TableRow] = []
    faults: list[Fault] = []
    try:
        events = yaml.parse(text, Loader=loader)
        for event in events:
            if isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
                continue
            if isinstance(event, yaml.StreamEndEvent):
                break
            if not isinstance(event, yaml.SequenceStartEvent):
                raise InvalidRequest("{name} is no list of rows: begin each row with a hyphen.", name=name)
            _yaml_rows(_plain(events), rows, faults)
            next(events)  # the end of the document
            _one_list(events, name)
            break
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read")
        faults.append(Fault(mark.line + 1 if mark else 1, Message("This is no YAML: {reason}.", reason=reason)))
    return Table(name, tuple(rows), tuple(faults))


def _one_list(events: Iterator[Any], name: str) -> None:
    """Nothing but the end may follow."""
    if type(next(events)).__name__ != "StreamEndEvent":
        raise InvalidRequest("{name} holds several documents: write all rows into one list.", name=name)


class _Mark(NamedTuple):
    """One event of YAML: what begins, ends or stands there, at which line, and what it says or why it can't."""

    kind: str
    line: int
    text: str | None
    fault: str


def _plain(events: Iterable[Any]) -> Iterator[_Mark]:
    """The events as far as rows need them."""
    for event in events:
        kind, fault, text = type(event).__name__, "", None
        if kind == "ScalarEvent":
            text = None if not event.style and event.value in _NOTHING else event.value
        if kind == "AliasEvent" or getattr(event, "anchor", None) is not None:
            fault = Message("Anchors and aliases (& and *) are not taken here: write the values out.")
        elif getattr(event, "tag", None) is not None:
            fault = Message("Tags (!) are not taken here: write the plain value.")
        yield _Mark(kind, event.start_mark.line + 1, text, fault)


def _yaml_rows(marks: Iterator[_Mark], rows: list[TableRow], faults: list[Fault]) -> None:
    """The rows of the list that was opened."""
    for mark in marks:
        if mark.kind == "SequenceEndEvent":
            return
        item = _item(mark, marks)
        wrong = next((one for one in item if one.fault), None)
        if wrong is not None:
            faults.append(Fault(wrong.line, wrong.fault))
            continue
        try:
            rows.append(TableRow(mark.line, _filled(_yaml_row(item))))
        except InvalidRequest as error:
            faults.append(Fault(mark.line, error.message))


def _item(first: _Mark, rest: Iterator[_Mark]) -> list[_Mark]:
    """All marks of the node that ``first`` begins."""
    found, depth = [], 0
    for mark in chain([first], rest):
        found.append(mark)
        depth += mark.kind.endswith("StartEvent") - mark.kind.endswith("EndEvent")
        if depth == 0:
            break
    return found


def _yaml_row(item: Sequence[_Mark]) -> dict[str, Any]:
    if item[0].kind != "MappingStartEvent":
        raise InvalidRequest("A row is names and values: user: ada.")
    values: dict[str, Any] = {}
    marks = iter(item[1:-1])
    for name in marks:
        if name.kind != "ScalarEvent":
            raise InvalidRequest("A row is names and values: user: ada.")
        column = name.text or ""
        if column in values:
            raise InvalidRequest("{name!r} stands there twice.", name=shortened(column))
        node = _item(next(marks), marks)
        if any(mark.kind != "ScalarEvent" for mark in node[1:-1]) or node[0].kind == "MappingStartEvent":
            raise InvalidRequest("{name} must be one value or a list of them.", name=shortened(column))
        texts = [mark.text or "" for mark in node if mark.kind == "ScalarEvent"]
        values[column] = node[0].text if len(node) == 1 else texts
    return values
