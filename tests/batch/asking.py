"""Tables as the tests ask for them."""

from __future__ import annotations

from pathlib import Path

from easyphoto.batch import given, rows, running, table
from easyphoto.batch.outcomes import BatchResult
from easyphoto.batch.pieces import pieces
from easyphoto.service import EasyPhoto
from tests.waiting import until


def checked(service: EasyPhoto, file: Path) -> rows.CheckedRows:
    return rows.check(table.read(file), service, given.FilePlaces(file.parent, service.templates))


def sentences(service: EasyPhoto, file: Path) -> list[str]:
    return [fault.sentence() for fault in checked(service, file).faults]


def batch_of(service: EasyPhoto, file: Path) -> running.Batch:
    found = checked(service, file)
    assert not found.faults
    return running.Batch(file.name, running.folder_of(service, file.name), tuple(pieces(found.orders, service)))


def until_stopped(service: EasyPhoto) -> None:
    """Return when the portrait that is being made is asked to stop, for a batch looks only now and then whether it
    was."""
    (portrait,) = (job for job in service.jobs.list() if job.kind == "generate" and job.state == "running")
    until(portrait.cancelled)


def run(service: EasyPhoto, file: Path) -> BatchResult:
    return running.start(service, batch_of(service, file)).wait(60)
