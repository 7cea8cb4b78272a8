"""The Weights tab: what a feature needs, what of it is there, how much the rest is to download, and the download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, weights_panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.job_tab import JobTab
from easyphoto.ui.kept import Kept
from easyphoto.ui.settings import Settings

PREFIX = "easyphoto_weights"


class WeightsTab(JobTab):
    """The components of the Weights tab and their events."""

    what, prefix, no_job = "models", PREFIX, "Nothing is being downloaded."

    def __init__(self, service: EasyPhoto, settings: Settings, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        self._settings = settings
        self._features = {bundle.what: name for name, bundle in service.weights.catalog.offered.items()}

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            with gr.Column(scale=4):
                self.feature = gr.Radio(
                    choices=list(self._features),
                    value=next(iter(self._features), None),
                    label="Feature",
                    info="EasyPhoto works without any of these; each makes it better at something.",
                    elem_id=f"{PREFIX}_feature",
                )
            with gr.Column(scale=6):
                with gr.Row():
                    self.start = gr.Button("Download", variant="primary", elem_id=f"{PREFIX}_start")
                    self.look = gr.Button("Look again", elem_id=f"{PREFIX}_look")
                    self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
                self._make_error()
                self._make_progress()
                self.needs = compat.html("", elem_id=f"{PREFIX}_needs")
                self.decided = compat.html("", elem_id=f"{PREFIX}_decided")
        self._make_state()

    def bind(self, opened: Any) -> None:
        """Connect the events; ``opened`` is the tab that all this stands in."""
        shown = [self.needs, self.decided, self.error]
        for event in (self.feature.change, self.look.click, opened.select):
            compat.listen(event, self._look, {self.feature}, shown)
        compat.listen(self.start.click, self._start, {self.feature}, self._following)
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        live = [self.progress, self.seen, self.needs, self.decided]
        compat.listen(self.tick.click, self._tick, {self.job, self.seen, self.feature}, live, quiet=True)

    def loaded(self, language: str, kept: Kept) -> Updates:
        """Return what a page shows when it is opened: its download that is running or ended last."""
        return self._last_shown(language, kept)

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return self._following

    def _look(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        return {**self._plan(data[self.feature], language), self.error: ""}

    def _plan(self, feature: str | None, language: str) -> Updates:
        weights, preferences = self._service.weights, self._service.preferences()
        updates: Updates = {}
        if feature in self._features:
            found = weights.needs(self._features[feature])
            updates[self.needs] = weights_panel.needs(
                found, language, offline=weights.offline, commercial_only=preferences.commercial_only
            )
        try:
            serving = weights.serving(self._service.vision)
        except EasyPhotoError:  # the environment of vision isn't made yet, and the other tabs say so
            serving = []
        updates[self.decided] = weights_panel.decided(preferences, serving, language, in_webui=self._settings.in_webui)
        return updates

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            name = self._features.get(data[self.feature] or "")
            job = self._service.weights.fetch([name] if name else [])
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._shown(job, language)

    def _mark(self, job: Job[Any]) -> object:
        return job.state

    def _moved_on(self, job: Job[Any], data: Mapping[Any, Any], language: str) -> Updates:
        return self._plan(data[self.feature], language)
