"""What the tabs share: each starts jobs of one kind and follows the last of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError, NotFound
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.sentences import told

Updates = dict[Any, Any]


class JobTab(ABC):
    """A tab with the panel of one job. ``language`` tells the language of a request.

    Subclasses make its components where they want them and say in :meth:`_showing` what else a job shows.
    """

    what: str
    """The kind of its jobs."""
    prefix: str
    """What its element ids begin with."""
    no_job: str
    """What stands in the panel before the first job."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    # --- layout ------------------------------------------------------------------------------------------------------

    def _make_progress(self) -> None:
        self.progress = compat.html(panel.empty_panel(self.no_job), elem_id=f"{self.prefix}_progress")

    def _make_error(self) -> None:
        self.error = compat.html("", elem_id=f"{self.prefix}_error")

    def _make_state(self) -> None:
        """The job that is followed, what of it was shown, and the hidden button that the page clicks while it runs."""
        self.job = gr.State("")
        self.seen = gr.State("")
        self.tick = gr.Button("tick", elem_id=self._tick_id, elem_classes=["easyphoto-hidden"])

    @property
    def _tick_id(self) -> str:
        return f"{self.prefix}_tick"

    @property
    def _following(self) -> list[Any]:
        """The components that every job shows itself in."""
        return [self.job, self.progress, self.seen, self.error]

    # --- the job -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _showing(self, job: Job[Any], language: str) -> tuple[object, Updates]:
        """What changes when there is more to see of ``job``, and what it shows beside its panel."""

    @abstractmethod
    def _ticked(self, job: Job[Any], updates: Updates, data: Mapping[Any, Any], language: str) -> Updates:
        """``updates`` of a job that is being followed, without what ``data`` says is shown already."""

    def _shown(self, job: Job[Any], language: str) -> Updates:
        mark, more = self._showing(job, language)
        return {
            self.job: job.id,
            self.progress: panel.job_panel(job, self._service.jobs, language, self._tick_id),
            self.seen: f"{job.id}:{mark}:{language}",
            self.error: "",
            **more,
        }

    def _last_shown(self, language: str) -> Updates:
        """The job that runs or ended last; nothing before the first."""
        jobs = [job for job in self._service.jobs.list() if job.what == self.what]
        return self._shown(jobs[-1], language) if jobs else {}

    def _refused(self, error: EasyPhotoError, language: str) -> Updates:
        return {self.error: panel.error(told(str(error), language))}

    def _cancel(self, job_id: str, request: gr.Request) -> Any:
        return panel.cancel(job_id, self._service.jobs, self._language(request), self._tick_id)

    def _tick(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            job = self._service.jobs.get(data[self.job])
        except NotFound:
            return {self.progress: panel.empty_panel(self.no_job)}
        updates = self._shown(job, language)
        for unchanged in (self.job, self.error):
            updates.pop(unchanged)
        return self._ticked(job, updates, data, language)
