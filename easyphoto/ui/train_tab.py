"""The Train tab: upload photos, read the report on them, and train; a training can be watched, stopped and resumed, and
the page finds it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from easyphoto.config import TrainConfig, declared, from_mapping
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.jobs import Job
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.training import captions
from easyphoto.ui import coach_view, compat, model_names, panel, people_view
from easyphoto.ui.compat import Updates
from easyphoto.ui.form import Form
from easyphoto.ui.job_tab import JobTab
from easyphoto.ui.kept import Kept
from easyphoto.ui.texts import say
from easyphoto.ui.uploaded import Uploaded

PREFIX = "easyphoto_train"
DECIDING = ("sd_model_checkpoint", "train_mode_choose", "training_style")
"""The fields that decide what the others show until somebody changes those."""
PHOTO = f"{PREFIX}_photo"
STOPPED = ("cancelled", "failed")
NO_PHOTOS = "Upload photos to see here what each of them is worth for the training."


class TrainTab(JobTab):
    """The components of the Train tab and their events."""

    what, prefix, no_job = "train", PREFIX, "Nothing is being trained."

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        self._uploaded = Uploaded(service.uploads, "photos")
        defaults = self._defaults({})
        self._first_model = defaults["sd_model_checkpoint"]
        self._form = Form(TrainConfig, PREFIX, defaults, {"sd_model_checkpoint": self._checkpoints})

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self, page: Any) -> None:
        """Make the components, inside the current tab; ``page`` holds the name of the browser's page."""
        self.page = page
        with gr.Row():
            with gr.Column(scale=5):
                self._build_photos()
            with gr.Column(scale=4):
                self._build_parameters()

    def _build_photos(self) -> None:
        with gr.Row():
            self.upload = gr.UploadButton(
                "Upload photos",
                file_count="multiple",
                file_types=["image", captions.ENDING],
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
        self.enlarged = compat.html("", elem_id=f"{PREFIX}_enlarged")
        self.enlarge = compat.hidden_button(f"{PREFIX}_photo_enlarge")
        self.remove = compat.hidden_button(f"{PREFIX}_photo_remove")
        self.go_on = compat.hidden_button(people_view.GO_ON)
        self._make_progress()
        self.validation = compat.html("", elem_id=f"{PREFIX}_validation")

    def _build_parameters(self) -> None:
        self.user_id = gr.Textbox(
            label="User id",
            info="The name of the person, in any script.",
            placeholder="e.g. Ada",
            elem_id=f"{PREFIX}_user_id",
        )
        self._form.add("sd_model_checkpoint")
        self.demo = compat.html(self._demo_hint({}, "en"), elem_id=f"{PREFIX}_demo")
        self._form.add(*(name for name in self._form.names("basic") if name != "sd_model_checkpoint"))
        self.broken = compat.html("", elem_id=f"{PREFIX}_broken")
        with compat.accordion("Advanced options"):
            self._form.add(*self._form.names("advanced"))
        with compat.accordion("Scene options"):
            self._form.add(*self._form.names("scene"))
        self._make_error()
        self.goes_on = compat.html("", elem_id=f"{PREFIX}_goes_on", elem_classes=["easyphoto-hidden"])
        with gr.Row(elem_id=f"{PREFIX}_bar"):
            self.start = gr.Button("Start training", variant="primary", elem_id=f"{PREFIX}_start")
            self.resume = gr.Button("Resume", elem_id=f"{PREFIX}_resume")
            self.add = gr.Button("Add without a training", elem_id=f"{PREFIX}_add")
            self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
        self._make_state()

    # --- events ------------------------------------------------------------------------------------------------------

    def bind(self, others: Sequence[Any], trained: Callable[[str, str, str], Updates], first_user: Any) -> None:
        """Connect the events. When a training ends, ``trained(user id, value of first_user, language)`` returns updates
        for ``others``."""
        self._first_user, self._trained = first_user, trained
        listing, have = [self.report, *self._following], {self.upload, self.page, self.job}
        uploaded = compat.listen(self.upload.upload, self._upload, have, listing)
        compat.listen(uploaded.then, self._check, [self.page], [self.report], overlay=False)
        compat.listen(self.clear.click, self._clear, {self.page, self.job}, listing)
        compat.asking(self.enlarge, self._enlarge, [self.page], [self.enlarged])
        removed = compat.asking(self.remove, self._remove, [self.page, self.job], listing)
        compat.listen(removed.then, self._check, [self.page], [self.report], overlay=False)
        compat.asking(self.go_on, self._filled, [], self._resumed)
        compat.listen(self.user_id.change, self._named, [self.user_id], [self.goes_on], quiet=True)
        inputs = {self.page, self.user_id, *self._form.components.values()}
        shown = [*self._following, self.validation, *self._resumed]
        compat.listen(self.start.click, self._start, inputs, shown)
        compat.listen(self.resume.click, self._resume, inputs, shown)
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        compat.listen(self.add.click, self._add, {self.page, self.user_id, first_user}, [self.error, *others])
        inputs = {self.job, self.seen, first_user}
        live = [self.progress, self.validation, self.seen, *self._resumed, *others]
        compat.listen(self.tick.click, self._tick, inputs, live, quiet=True)
        fields = self._form.components
        choice = {fields[name] for name in DECIDING}
        rest = [c for name, c in fields.items() if name not in DECIDING]
        compat.listen(fields["sd_model_checkpoint"].change, self._model_changed, choice, [self.demo], quiet=True)
        for component in choice:  # what the program fills in brings its own values along
            compat.listen(component.input, self._defaults_changed, choice, rest, quiet=True)

    def loaded(self, language: str, kept: Kept) -> Updates:
        """Return what a page shows when it is opened: fresh lists, and the user id, photos and training that it had
        before."""
        photos = self._uploaded.of(kept.page)
        updates: Updates = {**self._form.fresh_choices(language)}
        updates[self.broken] = panel.broken_models(self._service.broken_checkpoints(), language)
        updates[self.demo] = self._demo_hint({}, language)
        if photos:
            updates[self.report] = self.photos_shown(kept.page, language)
        updates |= self._last_shown(language, kept)
        done = {person.user_id for person in self._service.people.list() if not person.cancelled}
        if not updates.get(self.job) and kept.user_id and kept.user_id not in done:
            updates |= self._to_go_on(kept.user_id)  # the program has been started again since then
        return updates

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return [self.report, self.broken, self.demo, *self._following, self.validation, *self._resumed]

    @property
    def _resumed(self) -> list[Any]:
        """Return the components that show what a stopped training would go on with."""
        return [self.user_id, self.goes_on, *self._form.components.values()]

    def check_again(self, loaded: Any) -> None:
        """Have the photos checked of a page that was ``loaded`` again."""
        compat.listen(loaded.then, self._check, [self.page], [self.report], overlay=False)

    # --- photos ------------------------------------------------------------------------------------------------------

    def _upload(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, page = self._language(request), data[self.page]
        updates = self._inputs_changed(data[self.job], language)
        try:
            self._uploaded.add(page, compat.files(data[self.upload]), compat.upload_folders(self.upload))
        except EasyPhotoError as error:
            updates |= self._refused(error, language)
        return {**updates, self.report: self.photos_shown(page, language)}

    def _enlarge(self, name: str, page: str) -> str:
        path = self._uploaded.named(page, name)
        return "" if path is None else panel.enlarged(path)

    def _remove(self, name: str, page: str, job: str, request: gr.Request) -> Updates:
        """Remove one photo, and have the others looked at again: without it they may be worth more or less."""
        language = self._language(request)
        self._uploaded.remove(page, name)
        return {**self._inputs_changed(job, language), self.report: self.photos_shown(page, language)}

    def photos_shown(self, page: str, language: str) -> str:
        """Return the photos of a page, without a report."""
        have, texts = self._uploaded.of(page), self._uploaded.texts(page)
        shown = panel.photos(have, None, language, PHOTO) if have else panel.empty_panel(NO_PHOTOS)
        return panel.captions(have, texts, language) + shown

    def _check(self, page: str, request: gr.Request) -> Any:
        """Return the report on the photos of a page, or no change if the page has other photos by the time that it is
        ready."""
        language, photos = self._language(request), self._uploaded.of(page)
        if not photos:
            return self.photos_shown(page, language)
        try:
            report = self._service.check_photos(photos)
            said = coach_view.coaching(self._service.coach(report), language)
            shown = said + panel.photos(photos, report, language, PHOTO)
        except EasyPhotoError as error:
            message = say("photos_unchecked", language, message=translated(error.message, language))
            shown = panel.error(message) + panel.photos(photos, None, language, PHOTO)
        shown = panel.captions(photos, self._uploaded.texts(page), language) + shown
        return shown if photos == self._uploaded.of(page) else compat.update()

    def _clear(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        self._uploaded.clear(data[self.page])
        updates = self._inputs_changed(data[self.job], self._language(request))
        return {**updates, self.report: panel.empty_panel(NO_PHOTOS)}

    # --- training ----------------------------------------------------------------------------------------------------

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        return self._submit(data, self._language(request), resume=False)

    def _resume(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        return self._submit(data, self._language(request), resume=True)

    def _submit(self, data: Mapping[Any, Any], language: str, *, resume: bool) -> Updates:
        photos = () if resume else tuple(self._uploaded.of(data[self.page]))
        try:
            _, said = captions.split(() if resume else self._uploaded.texts(data[self.page]))
            beside = tuple(said.get(photo.stem, "") for photo in photos) if said else ()
            # A training that is resumed keeps the options with which it began.
            config = None if resume else from_mapping(TrainConfig, self._form.values(data))
            request = TrainRequest(data[self.user_id] or "", photos, config, resume=resume, captions=beside)
            job = self._service.train(request)
            if photos:
                self._uploaded.belong_to(data[self.page], job.subject)
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._shown(job, language)

    def _add(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Make a person of the photos at once, whom an adapter and face fusion portray."""
        language = self._language(request)
        try:
            person = self._service.add_person(data[self.user_id] or "", tuple(self._uploaded.of(data[self.page])))
            self._uploaded.belong_to(data[self.page], person.user_id)
        except EasyPhotoError as error:
            return self._refused(error, language)
        words = say("person added", language, name=person.user_id, n=len(person.photos()))
        shown = panel.good(words) + panel.next_step(person.user_id, language)
        return {**self._trained(person.user_id, data[self._first_user], language), self.error: shown}

    def _mark(self, job: Job[Any]) -> object:
        return f"{len(panel.View.of(job).validations)}:{job.state}"

    def _showing(self, job: Job[Any], language: str) -> Updates:
        updates: Updates = {self.validation: panel.validation(job, language), self.goes_on: self._named(job.subject)}
        if job.state in STOPPED:
            updates |= self._to_go_on(job.subject)
        return updates

    def _to_go_on(self, user_id: str) -> Updates:
        """Return updates with the user id and the options of a stopped training, if it can go on."""
        config = self._service.stopped_training(user_id)
        if config is None:
            return {}
        values = {d.name: getattr(config, d.name) for d in declared(TrainConfig)}
        return {self.user_id: user_id, **self._form.updates(values)}

    def _filled(self, user_id: str) -> Updates:
        """Fill in the stopped training of whoever was chosen in another tab."""
        return {self.user_id: user_id, **self._to_go_on(user_id)}

    def _panel(self, job: Job[Any] | None, language: str) -> str:
        note = ""
        if job is not None and job.state in STOPPED and self._service.stopped_training(job.subject) is not None:
            note = panel.hint(say("can go on", language, name=job.subject))
        if job is not None and job.state == "finished" and self._is_there(job.subject):
            note = panel.next_step(job.subject, language)
        return super()._panel(job, language) + note

    def _is_there(self, user_id: str) -> bool:
        """Return whether this is a person of whom portraits can be made; a scene is none."""
        return any(p.user_id == user_id and not p.scene and not p.fault for p in self._service.people.list())

    def _named(self, user_id: str) -> str:
        """Return a mark for the page's style while a stopped training of that name can go on."""
        goes_on = bool(user_id) and self._service.stopped_training(user_id) is not None
        return '<div class="easyphoto-goes-on"></div>' if goes_on else ""

    def _moved_on(self, job: Job[Any], data: Mapping[Any, Any], language: str) -> Updates:
        return self._trained(job.subject, data[self._first_user], language) if job.state == "finished" else {}

    # --- parameters --------------------------------------------------------------------------------------------------

    def _checkpoints(self, language: str = "en") -> list[tuple[str, str]]:
        return [(model_names.called(c, language), c.name) for c in self._service.host.checkpoints()]

    def _demo_hint(self, chosen: Mapping[str, Any], language: str) -> str:
        name = chosen.get("sd_model_checkpoint", "") or self._first_model
        known = self._service.host.checkpoints()
        return model_names.demo_hint(next((c for c in known if c.name == name), None), language)

    def _model_changed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        name = self._form.meant("sd_model_checkpoint", data[self._form.components["sd_model_checkpoint"]])
        return {self.demo: self._demo_hint({"sd_model_checkpoint": name}, self._language(request))}

    def _defaults(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the default values for the base model's family, the mode and the way to train, or those of SD1 if the
        host has no base model at all."""
        try:
            config = self._service.train_config(chosen)
        except InvalidRequest:
            config = TrainConfig()
        values = {d.name: getattr(config, d.name) for d in declared(TrainConfig)}
        known = self._checkpoints()
        if not values["sd_model_checkpoint"] and known:
            values["sd_model_checkpoint"] = known[0][1]
        return values

    def _defaults_changed(self, data: Mapping[Any, Any]) -> Updates:
        """Show the defaults for the base model, the mode and the way to train that are chosen now."""
        fields = self._form.components
        values = self._defaults({name: self._form.meant(name, data[fields[name]]) or "" for name in DECIDING})
        return self._form.updates({k: v for k, v in values.items() if k not in DECIDING})
