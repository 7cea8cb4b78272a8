"""The part of the Inference tab that downloads the gallery of templates: one click, and the download's progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from easyphoto.catalog import Asset
from easyphoto.catalog.download_plan import size
from easyphoto.errors import EasyPhotoError
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto
from easyphoto.templates.fetched_gallery import BUNDLE
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.job_tab import JobTab
from easyphoto.ui.texts import say

PREFIX = "easyphoto_more"


class GalleryFetch(JobTab):
    """The components of this part and their events.

    The style sheet shows the one button only below an offer, and the other only below a download that runs: version 6
    of gradio would make the tabs anew for each button that comes or goes.
    """

    what, prefix, no_job = "models", PREFIX, "Nothing is being downloaded."

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        bundle = service.weights.catalog.bundles.get(BUNDLE)
        self._subject = "" if bundle is None else bundle.what

    def build(self) -> None:
        """Make the components here."""
        self.offer = compat.html(self._offered("en"), elem_id=f"{PREFIX}_offer")
        self.start = gr.Button("Get the gallery", size="sm", variant="primary", elem_id=f"{PREFIX}_start")
        self._make_error()
        self.progress = compat.html("", elem_id=f"{PREFIX}_progress")
        self.cancel = gr.Button("Cancel", size="sm", variant="stop", elem_id=f"{PREFIX}_cancel")
        self._make_state()

    def bind(self, came: Callable[[Mapping[Any, Any], str], Updates], others: list[Any], inputs: set[Any]) -> None:
        """Connect the events. When the pictures came, ``came(data, language)`` returns updates of ``others``, of what
        ``inputs`` hold."""
        self._came = came
        compat.listen(self.start.click, self._start, None, self._following)
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        live = [self.progress, self.seen, *self.loads, *others]
        compat.listen(self.tick.click, self._tick, {self.job, self.seen, *inputs}, live, quiet=True)

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`fresh` may change."""
        return [self.offer]

    @property
    def running(self) -> list[Any]:
        """The components that :meth:`shown_again` may change."""
        return self._following

    def fresh(self, language: str) -> Updates:
        """Return updates that offer what is missing now."""
        return {self.offer: self._offered(language)}

    def shown_again(self, language: str) -> Updates:
        """Return updates for a page that was opened while the gallery is being downloaded."""
        for job in self._service.jobs.list():
            if job.what == self.what and job.subject == self._subject and not job.ended:
                return self._shown(job, language, own=False)
        return {}

    def _offered(self, language: str) -> str:
        missing = self._missing()
        much = size(sum(asset.bytes for asset in missing))
        return panel.hint(say("more templates", language, n=len(missing), size=much)) if missing else ""

    def _missing(self) -> Sequence[Asset]:
        commercial_only = self._service.preferences().commercial_only
        return self._service.templates.gallery.missing(commercial_only=commercial_only)

    def _start(self, request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            return self._shown(self._service.weights.fetch([BUNDLE]), language, own=False)
        except EasyPhotoError as error:
            return self._refused(error, language)

    def _mark(self, job: Job[Any]) -> object:
        return job.state

    def _moved_on(self, job: Job[Any], data: Mapping[Any, Any], language: str) -> Updates:
        return {**self.fresh(language), **self._came(data, language)} if job.ended else {}
