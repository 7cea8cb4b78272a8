"""A table that a client sent, as the queue keeps it: the same again from plain data, gone on with row by row, and found
when somebody on it is deleted."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from easyphoto.batch import running, table, table_desk, table_order
from easyphoto.batch.faults import WrongRows
from easyphoto.batch.outcomes import BatchResult, Outcome
from easyphoto.batch.table_desk import TableDesk
from easyphoto.batch.table_order import TableOrder
from easyphoto.errors import Cancelled, InvalidRequest, NotFound
from easyphoto.events import RowFailed
from easyphoto.messages import Message, translated
from easyphoto.ports import Txt2Img
from easyphoto.queue.port import DurableRequest, StoredPicture
from easyphoto.service import EasyPhoto
from tests.acting import templates_in
from tests.batch.asking import until_stopped
from tests.fakes import FakeHost
from tests.waiting import until

CSV = """\
user;template;seed;first_denoising_strength;output
ada;mine.png;5;0,4;first

ada|eve;mine.png|grace-hopper;7;;both
eve;yours;;;
"""


@pytest.fixture
def sent(tmp_path: Path) -> dict[str, Path | bytes]:
    one, other = templates_in(tmp_path)
    return {"mine.png": one, "yours": other.read_bytes()}


def order_of(text: str, sent: Mapping[str, Path | bytes], name: str = "orders.csv") -> TableOrder:
    return TableOrder(table.parse(text.encode(), "csv", name), name, name, sent, "zh")


def kept(order: TableOrder, service: EasyPhoto, folder: Path) -> DurableRequest:
    """The request as another program reads it: its data as JSON, its pictures as files."""
    asked = table_order.queued(order, order.checked(service))
    pictures = []
    for number, source in enumerate(asked.pictures):
        path = source if isinstance(source, Path) else folder / f"picture-{number}"
        if isinstance(source, bytes):
            path.write_bytes(source)
        pictures.append(StoredPicture(path, isinstance(source, Path)))
    payload: dict[str, Any] = json.loads(json.dumps(asked.payload))
    return DurableRequest("0123456789ab", asked.kind, asked.subject, asked.uses, payload, tuple(pictures))


def test_a_table_comes_back_as_it_was_sent(service: EasyPhoto, sent: dict[str, Path | bytes], tmp_path: Path) -> None:
    order = order_of(CSV, sent)
    request = kept(order, service, tmp_path)
    assert (request.kind, request.subject, request.uses) == ("batch", "orders.csv", ("ada", "eve"))
    again = table_order.read(request)
    assert [(row.line, dict(row.values)) for row in again.table.rows] == [
        (row.line, dict(row.values)) for row in order.table.rows
    ]
    assert [row.line for row in again.table.rows] == [2, 4, 5]
    assert (again.table.header, again.table.columns, again.table.typed) == (1, order.table.columns, False)
    assert again.sent == sent and (again.title, again.language) == ("orders.csv", "zh")
    before, after = order.batch(service), again.batch_of_what_is_left(service)
    assert [(p.line, p.name, p.key) for p in after.pieces] == [(p.line, p.name, p.key) for p in before.pieces]
    assert after.folder == before.folder and not after.refused


def test_typed_rows_keep_their_types(service: EasyPhoto, tmp_path: Path) -> None:
    rows = [{"user_ids": ["ada", "none"], "preset": "grace-hopper", "seed": 3, "fusion_only": True}]
    order = TableOrder(table.of_rows(rows, "batch"), "batch", "batch.csv", {})
    again = table_order.read(kept(order, service, tmp_path))
    assert again.table.typed and again.table.header is None and [dict(row.values) for row in again.table.rows] == rows


def test_what_cant_be_read_is_one_sentence(service: EasyPhoto, sent: dict[str, Path | bytes], tmp_path: Path) -> None:
    request = kept(order_of(CSV, sent), service, tmp_path)
    with pytest.raises(InvalidRequest, match="not kept any more"):
        table_order.read(DurableRequest("1", "batch", "", (), request.payload))
    with pytest.raises(InvalidRequest, match="can't be read: ask for it anew"):
        table_order.read(DurableRequest("1", "batch", "", (), {"table": {}}))


def test_a_result_comes_back(service: EasyPhoto, tmp_path: Path) -> None:
    said = Message("There is no template {name!r}.", name="x")
    outcomes = (
        Outcome(2, "first", "ada", "mine", "made", tmp_path / "first.png", (0.5, 0.75), "fake", 7),
        Outcome(3, "", "eve", "x", "failed", code="not_found", message=said),
    )
    result, desk = (
        BatchResult(tmp_path, outcomes, tmp_path / "report.html", tmp_path / "report.csv"),
        TableDesk(service),
    )
    again = desk.from_data(json.loads(json.dumps(desk.to_data(result))))
    assert again == result and translated(again.outcomes[1].message, "zh") == translated(said, "zh") != said
    with pytest.raises(ValueError, match="not in tuple"):
        desk.from_data({**desk.to_data(result), "outcomes": [{**desk.to_data(result)["outcomes"][0], "state": "lost"}]})


def test_who_is_gone_when_it_is_made_fails_alone(
    service: EasyPhoto, sent: dict[str, Path | bytes], tmp_path: Path
) -> None:
    request = kept(order_of(CSV, sent), service, tmp_path)
    service.delete_person("eve")
    told: list[Any] = []
    result = TableDesk(service).work(request, told.append, lambda: False)
    assert [(one.line, one.subject, one.state) for one in result.outcomes] == [
        (2, "ada", "made"),
        (4, "ada, eve", "failed"),
        (5, "eve", "failed"),
    ]
    failed = [event for event in told if isinstance(event, RowFailed)]
    assert [event.line for event in failed] == [4, 5]
    assert {str(event.message) for event in failed} == {
        "There is no trained person 'eve': train one or check the name."
    }
    assert "eve" in result.csv.read_text("utf-8-sig")


def test_a_wrong_table_is_not_queued(service: EasyPhoto, sent: dict[str, Path | bytes]) -> None:
    with pytest.raises(WrongRows):
        table_desk.queue(service, order_of(CSV.replace("eve;yours", "eva;yours"), sent))
    assert not service.jobs.list() and not service.paths.queue.exists()


def test_a_batch_goes_with_a_person_on_it_while_it_waits(service: EasyPhoto, sent: dict[str, Path | bytes]) -> None:
    service.jobs.pause()
    table_desk.register(service)
    first = table_desk.queue(service, order_of("user,template\nada,mine.png\n", sent, "first.csv"))
    until(lambda: first.state == "running")
    second = table_desk.queue(service, order_of("user,template\nada,yours\neve,mine.png\n", sent, "second.csv"))
    with pytest.raises(InvalidRequest, match="are being made"):
        service.delete_person("ada")
    service.delete_person("eve")
    with pytest.raises(NotFound):
        service.jobs.get(second.id)
    with pytest.raises(Cancelled):
        second.wait(60)
    held = [path for path in service.paths.queue.rglob("*") if path.is_file() and second.id in str(path)]
    assert not held, "its pictures go too"
    service.jobs.resume()
    assert first.wait(60).count("made") == 1


def test_a_cancelled_batch_is_retried_and_goes_on(service: EasyPhoto, sent: dict[str, Path | bytes]) -> None:
    assert isinstance(service.host, FakeHost)
    held, go = threading.Event(), threading.Event()

    def hold(job: Txt2Img) -> None:
        if job.seed == 2:
            held.set()
            go.wait(60)
            until_stopped(service)

    service.host.before = hold
    rows = "user,template,seed,output\nada,yours,1,a\nada,yours,2,b\neve,yours,3,c\n"
    job = table_desk.queue(service, order_of(rows, sent))
    assert held.wait(60)
    job.cancel()
    go.set()
    with pytest.raises(Cancelled, match="1 of 3 are there"):
        job.wait(60)
    service.host.before = None
    again = service.jobs.retry(job.id)
    result = again.wait(60)
    assert again.id == job.id and (result.count("there"), result.count("made")) == (1, 2)
    folder = running.folder_of(service, "orders.csv")
    assert sorted(path.name for path in folder.glob("*.png")) == ["a.png", "b.png", "c.png"]
