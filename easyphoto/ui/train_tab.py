"""The Train tab: photos in, their report, and a training that can be watched, stopped, resumed and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.config import TrainConfig, declared, from_mapping
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.ui import compat, panel
from easyphoto.ui.form import Form
from easyphoto.ui.job_tab import JobTab, Updates
from easyphoto.ui.sentences import told
from easyphoto.ui.texts import say

PREFIX = "easyphoto_train"
NO_PHOTOS = "Upload photos to see here what each of them is worth for the training."


class TrainTab(JobTab):
    """Components and what they do."""

    what, prefix, no_job = "train", PREFIX, "Nothing is being trained."

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        self._form = Form(TrainConfig, PREFIX, self._defaults({}), {"sd_model_checkpoint": self._checkpoints})

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            with gr.Column(scale=5):
                self._build_photos()
            with gr.Column(scale=4):
                self._build_parameters()

    def _build_photos(self) -> None:
        self.photos = gr.State([])
        with gr.Row():
            self.upload = gr.UploadButton(
                "Upload photos",
                file_count="multiple",
                file_types=["image"],
                variant="primary",
                elem_id=f"{PREFIX}_upload",
            )
            self.clear = gr.Button("Clear photos", elem_id=f"{PREFIX}_clear")
        gr.Markdown(
            "5 to 20 photos of one person: head and shoulders or half length, several angles and lights, "
            "most of them without glasses.",
            elem_classes=["easyphoto-hint"],
        )
        self.report = compat.html(panel.empty_panel(NO_PHOTOS), elem_id=f"{PREFIX}_report")
        self._make_progress()
        self.validation = compat.html("", elem_id=f"{PREFIX}_validation")

    def _build_parameters(self) -> None:
        self.user_id = gr.Textbox(
            label="User id",
            info="The name of the person, in any script.",
            placeholder="e.g. Ada",
            elem_id=f"{PREFIX}_user_id",
        )
        self._form.add(*self._form.names("basic"))
        self.broken = compat.html("", elem_id=f"{PREFIX}_broken")
        with compat.accordion("Advanced options"):
            self._form.add(*self._form.names("advanced"))
        with compat.accordion("Scene options"):
            self._form.add(*self._form.names("scene"))
        self._make_error()
        with gr.Row():
            self.start = gr.Button("Start training", variant="primary", elem_id=f"{PREFIX}_start")
            self.resume = gr.Button("Resume", elem_id=f"{PREFIX}_resume")
            self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
        self._make_state()

    # --- events ------------------------------------------------------------------------------------------------------

    def bind(self, others: Sequence[Any], trained: Callable[[str, str], Updates], first_user: Any) -> None:
        """Connect the events. When a training ends, ``trained(user id, what first_user holds)`` updates ``others``."""
        self._first_user, self._trained = first_user, trained
        listing = [self.photos, self.report]
        uploaded = compat.listen(self.upload.upload, self._uploaded, {self.upload, self.photos}, [*listing, self.error])
        compat.listen(uploaded.then, self._check, [self.photos], [self.report])
        compat.listen(self.clear.click, self._clear, None, [*listing, self.error])
        inputs = {self.photos, self.user_id, *self._form.components.values()}
        shown = [*self._following, self.validation]
        compat.listen(self.start.click, self._start, inputs, shown)
        compat.listen(self.resume.click, self._resume, inputs, shown)
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        inputs = {self.job, self.seen, first_user}
        live = [self.progress, self.validation, self.seen, *others]
        compat.listen(self.tick.click, self._tick, inputs, live, quiet=True)
        fields = self._form.components
        choice = {fields["sd_model_checkpoint"], fields["train_mode_choose"]}
        rest = [c for name, c in fields.items() if name not in ("sd_model_checkpoint", "train_mode_choose")]
        for component in choice:
            compat.listen(component.change, self._family_changed, choice, rest, quiet=True)

    def loaded(self, language: str) -> Updates:
        """What a page that is opened shows: fresh lists, and the training that runs or ended last."""
        broken = panel.broken_models(self._service.broken_checkpoints(), language)
        return {**self._form.fresh_choices(), **self._last_shown(language), self.broken: broken}

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return [*self._form.fresh_choices(), *self._following, self.validation, self.broken]

    # --- photos ------------------------------------------------------------------------------------------------------

    def _uploaded(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        have = [Path(p) for p in data[self.photos] or []]
        have += [path for path in compat.files(data[self.upload]) if path not in have]
        return {
            self.photos: [str(p) for p in have],
            self.report: panel.photos(have, None, self._language(request)),
            self.error: "",
        }

    def _check(self, photos: list[str], request: gr.Request) -> str:
        language, paths = self._language(request), [Path(p) for p in photos or []]
        if not paths:
            return panel.empty_panel(NO_PHOTOS)
        try:
            return panel.photos(paths, self._service.check_photos(paths), language)
        except EasyPhotoError as error:
            message = say("photos_unchecked", language, message=told(str(error), language))
            return panel.error(message) + panel.photos(paths, None, language)

    def _clear(self) -> Updates:
        return {self.photos: [], self.report: panel.empty_panel(NO_PHOTOS), self.error: ""}

    # --- training ----------------------------------------------------------------------------------------------------

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        return self._submit(data, self._language(request), resume=False)

    def _resume(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        return self._submit(data, self._language(request), resume=True)

    def _submit(self, data: Mapping[Any, Any], language: str, *, resume: bool) -> Updates:
        photos = () if resume else tuple(Path(p) for p in data[self.photos] or [])
        try:
            config = from_mapping(TrainConfig, self._form.values(data))
            request = TrainRequest(data[self.user_id] or "", photos, config, resume=resume)
            job = self._service.train(request)
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._shown(job, language)

    def _showing(self, job: Job[Any], language: str) -> tuple[object, Updates]:
        return len(panel.View.of(job).validations), {self.validation: panel.validation(job, language)}

    def _ticked(self, job: Job[Any], updates: Updates, data: Mapping[Any, Any], language: str) -> Updates:
        if updates[self.seen] == data[self.seen]:
            updates.pop(self.validation)
        if job.state == "finished":
            updates |= self._trained(job.subject, data[self._first_user])
        return updates

    # --- parameters --------------------------------------------------------------------------------------------------

    def _checkpoints(self) -> list[str]:
        return [c.name for c in self._service.host.checkpoints()]

    def _defaults(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The values for the base model's family; those of SD1 where the host has no base model at all."""
        try:
            config = self._service.train_config(chosen)
        except InvalidRequest:
            config = TrainConfig()
        values = {d.name: getattr(config, d.name) for d in declared(TrainConfig)}
        known = self._checkpoints()
        if not values["sd_model_checkpoint"] and known:
            values["sd_model_checkpoint"] = known[0]
        return values

    def _family_changed(self, data: Mapping[Any, Any]) -> Updates:
        names = ("sd_model_checkpoint", "train_mode_choose")
        fields = self._form.components
        values = self._defaults({name: data[fields[name]] or "" for name in names})
        return self._form.updates({k: v for k, v in values.items() if k not in names})
