"""Which jobs a batch has in the queue, written down beside its report: the next run finds what a killed one has left
there."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from easyphoto.errors import EasyPhotoError
from easyphoto.service import EasyPhoto
from easyphoto.storage import files

PATIENCE = 60.0
"""Seconds that a job of an earlier run has to stop."""


class JobNotes:
    """The notes of one batch, whose report lies in ``folder``. Several threads may write them."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / ".jobs.json"
        self._lock = threading.Lock()
        self._noted: list[str] = []

    def end_left(self, service: EasyPhoto) -> None:
        """Stop what an earlier run left in the queue, which would go on with it one day: it would then be made twice.
        What has come of it is found like anything else that is there."""
        for job_id in self.read():
            try:
                left = service.jobs.get(job_id)
                if not left.ended:
                    left.cancel()
                    left.wait(PATIENCE)
            except (EasyPhotoError, TimeoutError):
                continue

    def write(self, job_ids: Iterable[str]) -> None:
        """Note these jobs and no others; without any, the notes go away. Raises :class:`StorageFailed`."""
        with self._lock:
            self._noted = list(job_ids)
            self._keep()

    def add(self, job_id: str) -> None:
        """Note one more. Raises :class:`StorageFailed`."""
        with self._lock:
            self._noted.append(job_id)
            self._keep()

    def _keep(self) -> None:
        if self._noted:
            files.write_json(self._file, self._noted)
            return
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            raise files.not_written(self._file, error) from error

    def read(self) -> list[str]:
        """The jobs that are noted."""
        try:
            return [str(job_id) for job_id in files.read_json(self._file)]
        except (OSError, ValueError, TypeError):
            return []
