"""The queue below the tabs: who works on it, what waits in which order, and what one can do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.jobs import BATCH, NETWORK, Job
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.texts import say

PREFIX = "easyphoto_queue"
SHOWN = 60
"""Jobs that are shown; those that wait and run come first."""


class QueueDesk:
    """The components of the queue and their events. ``language`` tells the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    def build(self) -> None:
        """Make the components, inside the current column."""
        with compat.accordion("Queue"):
            self.list = compat.html("", elem_id=f"{PREFIX}_list")
            with gr.Row():
                self.job = gr.Dropdown(choices=[], value=None, label="Job", elem_id=f"{PREFIX}_job")
                self.first = gr.Button("Make it the next", elem_id=f"{PREFIX}_first")
                self.retry = gr.Button("Retry", elem_id=f"{PREFIX}_retry")
                self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
            with gr.Row():
                self.pause = gr.Button("Pause the queue", elem_id=f"{PREFIX}_pause")
                self.resume = gr.Button("Resume the queue", elem_id=f"{PREFIX}_resume")
                self.clear = gr.Button("Clear what has ended", elem_id=f"{PREFIX}_clear")
            self.error = compat.html("", elem_id=f"{PREFIX}_error")
            self.seen = gr.State("")
            self.tick = gr.Button("tick", elem_id=f"{PREFIX}_tick", elem_classes=["easyphoto-hidden"])

    def bind(self) -> None:
        """Connect the events."""
        jobs = self._service.jobs
        outputs = [self.list, self.job, self.seen, self.error]
        for button, act in (
            (self.first, lambda job: jobs.move(job, 0)),
            (self.retry, jobs.retry),
            (self.cancel, lambda job: jobs.get(job).cancel()),
        ):
            compat.listen(button.click, self._about_one(act), {self.job, self.seen}, outputs)
        for button, do in ((self.pause, jobs.pause), (self.resume, jobs.resume), (self.clear, jobs.clear)):
            compat.listen(button.click, self._about_all(do), {self.job, self.seen}, outputs)
        compat.listen(self.tick.click, self._tick, {self.job, self.seen}, outputs[:3], quiet=True)

    def loaded(self, language: str) -> Updates:
        """Return what a page shows when it is opened."""
        return {**self._shown(language, {self.job: None, self.seen: ""}), self.error: ""}

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return [self.list, self.job, self.seen, self.error]

    # --- events ------------------------------------------------------------------------------------------------------

    def _about_one(self, act: Callable[[str], object]) -> Callable[..., Updates]:
        def clicked(data: Mapping[Any, Any], request: gr.Request) -> Updates:
            job = _id(data[self.job])
            if not job:
                language = self._language(request)
                return {self.error: panel.error(say("choose a job", language))}
            return self._done(lambda: act(job), data, request)

        return clicked

    def _about_all(self, do: Callable[[], object]) -> Callable[..., Updates]:
        def clicked(data: Mapping[Any, Any], request: gr.Request) -> Updates:
            return self._done(do, data, request)

        return clicked

    def _done(self, do: Callable[[], object], data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, error = self._language(request), ""
        try:
            do()
        except EasyPhotoError as failed:
            error = panel.error(translated(failed.message, language))
        return {**self._shown(language, data), self.error: error}

    def _tick(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        return self._shown(self._language(request), data)

    # --- what is shown -----------------------------------------------------------------------------------------------

    def _shown(self, language: str, data: Mapping[Any, Any]) -> Updates:
        jobs = self._in_order()
        offered = [(f"{words(job, language)} · {job.id}", job.id) for job in jobs]
        updates: Updates = {self.list: self._table(jobs, language)}
        mark = f"{language}:{','.join(job.id for job in jobs)}"
        if mark != data[self.seen]:
            known = {job.id for job in jobs}
            kept = data[self.job] if _id(data[self.job]) in known else None
            updates[self.job] = compat.update(choices=compat.choices(offered), value=kept)
            updates[self.seen] = mark
        return updates

    def _in_order(self) -> list[Job[Any]]:
        """What runs, what waits in its order, and what ended last."""
        queue = self._service.jobs
        jobs = queue.list()
        running = [job for job in jobs if job.state == "running"]
        ended = [job for job in reversed(jobs) if job.ended]
        return [*running, *queue.waiting(), *queue.waiting(NETWORK), *queue.waiting(BATCH), *ended][:SHOWN]

    def _table(self, jobs: list[Job[Any]], language: str) -> str:
        queue = self._service.jobs
        heads = []
        worker = queue.worker()
        if worker is None and any(not job.ended for job in jobs):
            heads.append(say("nobody works", language))
        elif worker is not None and not queue.works_here:
            heads.append(translated(worker.sentence(), language))
        if queue.paused:
            heads.append(say("queue paused", language))
        if queue.notice is not None:
            heads.append(translated(queue.notice, language))
        if not jobs:
            heads.append(say("queue empty", language))
        rows = "".join(
            f'<tr data-job="{escape(job.id)}" data-state="{job.state}"><td>{escape(words(job, language))}</td>'
            f"<td>{escape(self._state(job, language))}</td><td>{_clock(job.at)}</td></tr>"
            for job in jobs
        )
        alive = f' data-poll="{PREFIX}_tick"' if any(not job.ended for job in jobs) else ""
        notes = "".join(f'<p class="easyphoto-note">{escape(text)}</p>' for text in heads)
        filled, paused = (str(is_so).lower() for is_so in (bool(jobs), queue.paused))
        return (
            f'<div class="easyphoto-panel easyphoto-needs" data-filled="{filled}" data-paused="{paused}"{alive}>{notes}'
            f"<table><tbody>{rows}</tbody></table></div>"
        )

    def _state(self, job: Job[Any], language: str) -> str:
        if job.state == "queued":
            place = self._service.jobs.position(job)
            text = say("queued", language, n=place) if place else say("queue next", language)
        else:
            text = say(f"queue {job.state}", language)
        return f"{text} {say('cut off', language, n=job.cut_off)}" if job.cut_off else text


def words(job: Job[Any], language: str) -> str:
    """Return what a job is, in a few words."""
    return say(job.what, language, subject=job.subject)


def _id(chosen: Any) -> str:
    """Return the id of a chosen job. Version 3 of gradio gives the name in the place of the value."""
    return str(chosen or "").rsplit(" · ", 1)[-1]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S" if time.time() - at < 43200 else "%Y-%m-%d %H:%M", time.localtime(at))
