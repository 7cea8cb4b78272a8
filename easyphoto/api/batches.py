"""The routes of batches: a table as rows or as text, checked whole, and made as one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from easyphoto.api import schema, wire
from easyphoto.batch import running, table, table_desk
from easyphoto.batch.faults import WrongRows
from easyphoto.batch.table_order import TableOrder
from easyphoto.errors import InvalidRequest
from easyphoto.filenames import shown
from easyphoto.service import MAX_TEMPLATES, EasyPhoto

MAX_NAME = 100
"""Characters of the name of a batch."""


def add(router: APIRouter, service: EasyPhoto, errors: Mapping[int | str, dict[str, Any]]) -> None:
    """Add the routes to ``router``. ``errors`` describes what each may answer beside what it is for."""
    table_desk.register(service)  # what came of an earlier program's batches is told too
    refusals = {**errors, 422: {"model": schema.RowsError, "description": "Rows are wrong: nothing was begun."}}

    @router.post("/jobs/batch", responses=refusals, status_code=202, summary="Make the portraits of a table")
    def batch(payload: schema.BatchPayload) -> schema.QueuedJob:
        job = table_desk.queue(service, _order(payload))
        return schema.QueuedJob(id=job.id, position=service.jobs.position(job))

    @router.post("/batches/forecast", responses=refusals, summary="Check a table and tell what it takes")
    def forecast(payload: schema.BatchPayload) -> schema.ForecastOut:
        found = running.forecast(service, _order(payload).batch(service))
        return schema.ForecastOut(**found.data(), sentences=[str(said) for said in found.sentences()])


def refusal(error: WrongRows, scrubber: wire.Scrubber) -> dict[str, Any]:
    """Return the answer to a table of which nothing was begun."""
    faults = [{"line": fault.line, "message": scrubber.text(str(fault.message))} for fault in error.faults]
    return {"code": error.code, "message": scrubber.text(str(error)), "faults": faults}


def _order(payload: schema.BatchPayload) -> TableOrder:
    name = shown(payload.name[:MAX_NAME])
    if (payload.table is None) == (not payload.rows):
        raise InvalidRequest("Give the rows of the batch, or its table as a text.")
    if payload.table is None:
        read = table.of_rows(payload.rows, name)
    else:
        read = table.parse(payload.table.encode("utf-8", "replace"), payload.format, name)
    if len(payload.templates) > MAX_TEMPLATES:
        raise InvalidRequest(
            "{count} templates are too many: at most {max_templates}.",
            count=len(payload.templates),
            max_templates=MAX_TEMPLATES,
        )
    sent = {called: wire.decode(text, f"Picture {called!r}") for called, text in payload.templates.items()}
    return TableOrder(read, name, f"{name}.csv", sent)
