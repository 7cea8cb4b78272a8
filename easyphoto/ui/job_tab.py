"""What the tabs have in common: each starts jobs of one kind and follows the last one that was started from its
page."""

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
from easyphoto.ui.compat import Updates
from easyphoto.ui.kept import Kept


class JobTab(ABC):
    """A tab with the panel of one job. ``language`` returns the language of a request.

    A page follows the last job that was started from it. Before it has started one, it follows the last job of this
    kind that there was. A line below the panel tells of the jobs that others started; they never take the panel over.

    Subclasses place the components where they want them. While a job runs, the page looks at it once a second. The
    panel is drawn at each look; what :meth:`_showing` makes beside it, only when :meth:`_mark` has changed.
    """

    what: str
    """The kind of its jobs."""
    kinds: tuple[str, ...] = ()
    """The kinds of job that the panel can show, if there are more than that one."""
    prefix: str
    """The beginning of the element ids of this tab."""
    no_job: str
    """What the panel says before the first job."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    # --- layout ------------------------------------------------------------------------------------------------------

    def _make_progress(self) -> None:
        self.progress = compat.html(panel.empty_panel(self.no_job), elem_id=f"{self.prefix}_progress")

    def _make_error(self) -> None:
        self.error = compat.html("", elem_id=f"{self.prefix}_error")

    def _make_state(self) -> None:
        """Make the hidden parts: which job is followed, what of it was shown, what the browser remembers of that, and
        the button that the page clicks while the job runs."""
        self.job = gr.State("")
        self.seen = gr.State("")
        self.mark = compat.html("", elem_id=f"{self.prefix}_mark", elem_classes=["easyphoto-hidden"])
        self.tick = gr.Button("tick", elem_id=self._tick_id, elem_classes=["easyphoto-hidden"])

    @property
    def _tick_id(self) -> str:
        return f"{self.prefix}_tick"

    @property
    def _following(self) -> list[Any]:
        """Return the components in which every job is shown."""
        return [self.job, self.progress, self.seen, self.error, self.mark]

    # --- the job -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _mark(self, job: Job[Any]) -> object:
        """Return a value that changes whenever there is more to see of ``job`` beside its panel."""

    def _showing(self, job: Job[Any], language: str) -> Updates:
        """Return the updates that show what ``job`` has beside its panel."""
        return {}

    def _moved_on(self, job: Job[Any], data: Mapping[Any, Any], language: str) -> Updates:
        """Return further updates for a page that follows ``job`` when :meth:`_mark` changes; ``data`` holds its
        inputs."""
        return {}

    def _seen(self, job: Job[Any], language: str) -> str:
        """Return what the page keeps of a look, so that the next one can tell whether there is more to see."""
        return f"{job.id}:{self._mark(job)}:{language}"

    def _shown(self, job: Job[Any], language: str, *, own: bool = True) -> Updates:
        """Make the page follow ``job``. An ``own`` job was started from this page, which remembers it when it is loaded
        again."""
        seen = self._seen(job, language)  # first: the next look then finds all that happens from here on
        shown = self._panel(job, language)  # second: once a panel shows the end, nobody looks again
        return {
            self.job: job.id,
            self.progress: shown,
            self.seen: seen,
            self.error: "",
            self.mark: panel.mark(self.what, job.id, self.prefix, own=own),
            **self._showing(job, language),
        }

    def _panel(self, job: Job[Any] | None, language: str) -> str:
        """Return the panel of ``job``, or the empty one, with a line below it about the jobs of others."""
        jobs = self._service.jobs
        shown = panel.empty_panel(self.no_job)
        if job is not None:
            shown = panel.job_panel(job, jobs, language, self._tick_id)
        others = [j for j in jobs.list() if j.what == self.what and not j.ended and j is not job]
        if job is not None and job.what == "batch":
            others = []  # they are its own
        return shown + panel.others(others, language, self._tick_id)

    def _last_shown(self, language: str, kept: Kept) -> Updates:
        """Follow the last job of this page, or the last of all jobs of this kind if the page never had one."""
        own = kept.jobs.get(self.what)
        jobs = [job for job in self._service.jobs.list() if job.what in (self.kinds or (self.what,))]
        if own is None:
            return self._shown(jobs[-1], language, own=False) if jobs else self._nothing_shown(language, own=False)
        mine = [job for job in jobs if job.id == own]
        return self._shown(mine[0], language) if mine else self._nothing_shown(language)

    def _nothing_shown(self, language: str, *, own: bool = True) -> Updates:
        """Make the page follow no job. With ``own`` the browser remembers that."""
        return {
            self.job: "",
            self.seen: "",
            self.progress: self._panel(None, language),
            self.mark: panel.mark(self.what, "", self.prefix, own=own),
            self.error: "",
        }

    def _inputs_changed(self, job_id: str, language: str) -> Updates:
        """Put away the error of the inputs that were there before, so that it doesn't stand below new ones."""
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
        updates: Updates = {
            self.progress: self._panel(job, language)
        }  # first: once a panel shows the end, nobody looks again
        seen = self._seen(job, language)
        if seen != data[self.seen]:
            updates |= {self.seen: seen, **self._showing(job, language), **self._moved_on(job, data, language)}
        return updates
