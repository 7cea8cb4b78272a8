"""What the tabs share: each starts jobs of one kind and follows the last that was started from its page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError, NotFound
from easyphoto.jobs import Job
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.kept import Kept

Updates = dict[Any, Any]


class JobTab(ABC):
    """A tab with the panel of one job. ``language`` tells the language of a request.

    A page follows the last job that was started from it; before the first, the last of its kind that there was. Jobs
    that others started are told in a line below and never take the panel.

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
        """The job that is followed, what of it was shown, what the browser keeps of that, and the hidden button that
        the page clicks while the job runs."""
        self.job = gr.State("")
        self.seen = gr.State("")
        self.mark = compat.html("", elem_id=f"{self.prefix}_mark", elem_classes=["easyphoto-hidden"])
        self.tick = gr.Button("tick", elem_id=self._tick_id, elem_classes=["easyphoto-hidden"])

    @property
    def _tick_id(self) -> str:
        return f"{self.prefix}_tick"

    @property
    def _following(self) -> list[Any]:
        """The components that every job shows itself in."""
        return [self.job, self.progress, self.seen, self.error, self.mark]

    # --- the job -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _showing(self, job: Job[Any], language: str) -> tuple[object, Updates]:
        """What changes when there is more to see of ``job``, and what it shows beside its panel."""

    @abstractmethod
    def _ticked(self, job: Job[Any], updates: Updates, data: Mapping[Any, Any], language: str) -> Updates:
        """``updates`` of a job that is being followed, without what ``data`` says is shown already."""

    def _shown(self, job: Job[Any], language: str, *, own: bool = True) -> Updates:
        """Follow ``job``; ``own``: it was started from this page, which will come back to it."""
        mark, more = self._showing(job, language)
        return {
            self.job: job.id,
            self.progress: self._panel(job, language),
            self.seen: f"{job.id}:{mark}:{language}",
            self.error: "",
            self.mark: panel.mark(self.what, job.id, self.prefix, own=own),
            **more,
        }

    def _panel(self, job: Job[Any] | None, language: str) -> str:
        """The panel of ``job``, or the empty one, and below it what others have asked for."""
        jobs = self._service.jobs
        shown = panel.empty_panel(self.no_job)
        if job is not None:
            shown = panel.job_panel(job, jobs, language, self._tick_id)
        others = [j for j in jobs.list() if j.what == self.what and not j.ended and j is not job]
        return shown + panel.others(others, language, self._tick_id)

    def _last_shown(self, language: str, kept: Kept) -> Updates:
        """The last job of this page; of all that there were, where it never had one."""
        own = kept.jobs.get(self.what)
        jobs = [job for job in self._service.jobs.list() if job.what == self.what]
        if own is None:
            return self._shown(jobs[-1], language, own=False) if jobs else self._nothing_shown(language, own=False)
        mine = [job for job in jobs if job.id == own]
        return self._shown(mine[0], language) if mine else self._nothing_shown(language)

    def _nothing_shown(self, language: str, *, own: bool = True) -> Updates:
        """Follow no job; ``own``: and remember that."""
        return {
            self.job: "",
            self.seen: "",
            self.progress: self._panel(None, language),
            self.mark: panel.mark(self.what, "", self.prefix, own=own),
            self.error: "",
        }

    def _inputs_changed(self, job_id: str, language: str) -> Updates:
        """What went wrong with the inputs before doesn't stay below new ones."""
        try:
            job = self._service.jobs.get(job_id)
        except NotFound:
            return {self.error: ""}
        return self._nothing_shown(language) if panel.went_wrong(job) else {self.error: ""}

    def _refused(self, error: EasyPhotoError, language: str) -> Updates:
        return {self.error: panel.error(translated(error.message, language))}

    def _cancel(self, job_id: str, request: gr.Request) -> Any:
        try:
            job = self._service.jobs.get(job_id)
        except NotFound:
            return compat.update()
        job.cancel()
        return self._panel(job, self._language(request))

    def _tick(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            job = self._service.jobs.get(data[self.job])
        except NotFound:
            return {self.progress: self._panel(None, language)}
        updates = self._shown(job, language)
        for unchanged in (self.job, self.error, self.mark):
            updates.pop(unchanged)
        return self._ticked(job, updates, data, language)
