"""The Inference tab: choose the people, the templates and the options, and watch the portraits arrive."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.config import POSES, REF_MODES, SCENE_CONTROLS, Family, PortraitConfig, declared, from_mapping
from easyphoto.errors import EasyPhotoError, NotFound
from easyphoto.events import Portrayed
from easyphoto.inference import poses, recipe
from easyphoto.jobs import Job
from easyphoto.messages import translated
from easyphoto.people import Person
from easyphoto.service import NOBODY, EasyPhoto, PortraitRequest
from easyphoto.templates import scenes
from easyphoto.ui import compat, history_view, model_names, panel
from easyphoto.ui.batch_desk import BatchDesk
from easyphoto.ui.compat import Updates
from easyphoto.ui.form import Choices, Form
from easyphoto.ui.history import History
from easyphoto.ui.job_tab import JobTab
from easyphoto.ui.kept import Kept
from easyphoto.ui.people_desk import PeopleDesk, called, nobody, user_id_of
from easyphoto.ui.settings import MAX_FACES, Settings
from easyphoto.ui.template_picker import PREFIX, TEXT, TemplatePicker
from easyphoto.ui.texts import say

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Strength of the person": (
        "apply_face_fusion_before",
        "before_face_fusion_ratio",
        "apply_face_fusion_after",
        "after_face_fusion_ratio",
        "lora_weights",
        "lora_weights_auto",
    ),
    "Diffusion": (
        "first_diffusion_steps",
        "first_denoising_strength",
        "second_diffusion_steps",
        "second_denoising_strength",
        "best_of",
        "keep_losers",
        "enable_second_diffusion",
        "lcm_accelerate",
    ),
    "Face": (
        "face_fusion_method",
        "fusion_only",
        "crop_face_preprocess",
        "face_shape_match",
        "color_shift_middle",
        "color_shift_last",
        "skin_retouching_bool",
        "makeup_transfer",
        "makeup_transfer_ratio",
    ),
    "Identity from photos": (
        "id_control",
        "id_control_method",
        "ipa_weight",
        "ipa_weight_auto",
        "id_photos",
        "instantid_ipa_weight",
        "instantid_id_weight",
        "ref_mode_choose",
        "no_user_lora_mode",
        "ipa_only_weight",
        "instantid_only_ipa_weight",
        "instantid_only_id_weight",
    ),
    "Background and finish": (),
}
"""The advanced options in each accordion. The last accordion takes every option that no other one names."""


_, INNER_POSE, UPLOADED_POSE = SCENE_CONTROLS
POSE_SIZE = (240, 192)
"""The height and width, in pixels, of the picture of an inner pose."""


class GenerateTab(JobTab):
    """The components of the Inference tab and their events."""

    what, prefix, no_job = "generate", PREFIX, "No portraits yet."
    kinds = ("generate", "batch")

    def __init__(self, service: EasyPhoto, settings: Settings, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        self._settings = settings
        self.picker = TemplatePicker(service, language)
        self.desk = PeopleDesk(service, language)
        self.batch = BatchDesk(service, language)
        choices: dict[str, Choices] = {"sd_model_checkpoint": self._checkpoints, "scene_id": self._scenes}
        self._form = Form(PortraitConfig, PREFIX, {}, choices)
        self._thumbnails = panel.Thumbnails()
        self._history = History(service.paths.portraits)

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            with gr.Column(scale=5):
                self._build_people()
                self.picker.build(self._build_text)
                self._build_options()
                self.batch.build()
            with gr.Column(scale=4):
                self._build_portraits()

    def _build_people(self) -> None:
        count, people = self._faces(), self._people("en")
        self.nobody = compat.html(panel.nobody(people, "en"), elem_id=f"{PREFIX}_nobody")
        with gr.Row():
            self.faces = gr.Slider(
                1,
                MAX_FACES,
                value=count,
                step=1,
                label="Number of faces",
                info="One user id for each face of the template, from left to right.",
                elem_id=f"{PREFIX}_faces",
            )
            self.refresh = gr.Button(
                "Refresh", size="sm", elem_id=f"{PREFIX}_refresh", elem_classes=["easyphoto-small"]
            )
        with gr.Row():
            self.users = [
                gr.Dropdown(
                    choices=compat.choices(people),
                    value=_first(people) if i == 0 else NOBODY,
                    label=f"User id, face {i + 1}",
                    visible=i < count,
                    elem_id=f"{PREFIX}_user_{i + 1}",
                    allow_custom_value=True,
                )
                for i in range(MAX_FACES)
            ]

        self.show_faces = gr.Button("Show the faces of the template", size="sm", elem_id=f"{PREFIX}_show_faces")
        self.crops = gr.Gallery(
            label="Click a face to give it to the next person",
            columns=5,
            height="auto",
            allow_preview=False,
            visible=compat.shown(False),
            elem_id=f"{PREFIX}_crops",
        )
        self.by_likeness = gr.Checkbox(
            value=False,
            label="Match by likeness",
            info="Everybody takes the place of the face that is most like them.",
            elem_id=f"{PREFIX}_by_likeness",
        )
        self.faces_note = compat.html("", elem_id=f"{PREFIX}_faces_note")
        self.desk.build()

    def _build_text(self) -> None:
        self.scenes = gr.Radio(
            choices=[scene.title for scene in scenes.known()],
            value=None,
            label="Scenes",
            info="A click writes the scene into the prompt.",
            elem_id=f"{PREFIX}_scenes",
        )
        self._form.add(*(name for name in self._form.names("text") if name != "t2i_pose_inner"))
        with gr.Group(visible=compat.shown(False)) as self.inner_poses:
            self._form.add("t2i_pose_inner")
            self.pose_pictures = gr.Gallery(
                value=self._pose_pictures(),
                label="Inner poses",
                columns=5,
                height="auto",
                allow_preview=False,
                elem_id=f"{PREFIX}_poses",
            )
        self.pose = compat.picture_input(
            "Picture with the pose", height=240, visible=compat.shown(False), elem_id=f"{PREFIX}_pose"
        )

    def _build_options(self) -> None:
        self._form.add("sd_model_checkpoint")
        self.demo = compat.html("", elem_id=f"{PREFIX}_demo")
        self.broken = compat.html("", elem_id=f"{PREFIX}_broken")
        self._form.add(*(name for name in self._form.names("basic") if name != "sd_model_checkpoint"))
        with compat.accordion("Advanced options"):
            named = {name for group in GROUPS.values() for name in group}
            for title, group in GROUPS.items():
                rest = [name for name in self._form.names("advanced") if name not in named]
                with compat.accordion(title, open=True):
                    self._form.add(*(group or rest))
                    if "id_control" in group:
                        self.shown = compat.picture_input(
                            "Picture for the adapter", height=240, elem_id=f"{PREFIX}_shown"
                        )

    def _build_portraits(self) -> None:
        self.pick, self.use, self.again = map(compat.hidden_button, (panel.PICK, history_view.USE, history_view.AGAIN))
        with gr.Row(elem_id=f"{PREFIX}_bar"):
            self.start = gr.Button("Generate", variant="primary", elem_id=f"{PREFIX}_start")
            self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
        self._make_error()
        self._make_progress()
        self.portraits = compat.gallery(
            "Portraits", columns=2, height="auto", object_fit="contain", elem_id=f"{PREFIX}_portraits"
        )
        self.take = compat.html("", elem_id=f"{PREFIX}_take")
        self.recipe = gr.Textbox(
            label="Parameters of the selected portrait",
            placeholder="Select a portrait to see how it was made.",
            lines=6,
            max_lines=16,
            interactive=False,
            elem_id=f"{PREFIX}_recipe",
        )
        # The host's own buttons send these on, because its script can't find the selection in a gallery with captions.
        self.selected = gr.Image(type="pil", visible=False, elem_id=f"{PREFIX}_selected")
        if self._settings.send_to is not None:
            self._settings.send_to(self.selected, self.recipe)
        self._make_state()

    # --- events ------------------------------------------------------------------------------------------------------

    def bind(self, page: Any, photos: Any, photos_now: Callable[[str, str], Any]) -> None:
        """Connect the events. ``photos`` shows the photos of a ``page``, by ``photos_now(page, language)``."""
        self._photos, self._photos_now = photos, photos_now
        self.desk.bind(page, [photos, *self.people_lists], self.people_changed)
        compat.listen(self.faces.change, self._faces_changed, [self.faces], self.users, quiet=True)
        for component in (self.faces, self.picker.chosen):
            compat.listen(
                component.change, self._faces_counted, {self.faces, self.picker.chosen}, [self.faces_note], quiet=True
            )
        compat.listen(
            self.show_faces.click,
            self._faces_shown,
            {*self.picker.inputs},
            [self.crops, self.faces, self.faces_note, *self.users],
        )
        compat.listen(self.crops.select, self._crop_selected, self.users, self.users, quiet=True)
        compat.asking(self.pick, self._picked, [], self.people_lists)
        compat.asking(self.use, self._used, [], self.picker.kept)
        filled = [self.faces, self.error, *self.users, *self._form.components.values(), *self.picker.lists]
        compat.asking(self.again, self._filled, [], filled)
        compat.listen(self.refresh.click, self._refreshed, self.picker.shows, self._lists)
        model = self._form.components["sd_model_checkpoint"]
        both = {self.users[0], model}
        compat.listen(self.users[0].change, self._user_changed, both, [self.demo, model], quiet=True)
        compat.listen(model.change, self._model_changed, both, [self.demo], quiet=True)
        self.picker.bind()
        self.batch.bind(self._shown, [*self._following, *self._made])
        control = self._form.components["t2i_control_way"]
        compat.listen(control.change, self._control_changed, [control], [self.inner_poses, self.pose], quiet=True)
        inner = self._form.components["t2i_pose_inner"]
        prompt = self._form.components["text_to_image_input_prompt"]
        compat.listen(self.scenes.input, self._scene_chosen, [self.scenes], [prompt], quiet=True)
        compat.listen(self.pose_pictures.select, self._pose_selected, None, [inner], quiet=True)
        for changed in self.picker.changes:
            compat.listen(changed, self._changed, [self.job], self._following, quiet=True)
        inputs = {
            self.faces,
            *self.users,
            self.by_likeness,
            self.pose,
            self.shown,
            *self.picker.inputs,
            *self._form.components.values(),
        }
        compat.listen(self.start.click, self._start, inputs, [*self._following, *self._made])
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        live = [self.progress, self.seen, *self._made]
        compat.listen(self.tick.click, self._tick, {self.job, self.seen}, live, quiet=True)
        compat.listen(
            self.portraits.select,
            self._portrait_selected,
            [self.job],
            [self.recipe, self.selected, self.take],
            quiet=True,
        )

    def people_now(self, language: str) -> Updates:
        """Return updates that list everybody who can be picked now."""
        people = self._people(language)
        updates: Updates = {user: compat.update(choices=compat.choices(people)) for user in self.users}
        updates[self.broken] = panel.broken_models(self._service.broken_checkpoints(), language)
        return {
            **updates,
            self.nobody: panel.nobody(people, language),
            **self._form.fresh_choices(language),
            **self.desk.fresh(language),
        }

    def _refreshed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        return {**self.people_now(language), **self.picker.fresh(language, data)}

    @property
    def _lists(self) -> list[Any]:
        return [*self.people_lists, *self.picker.lists]

    @property
    def people_lists(self) -> list[Any]:
        """The components that :meth:`people_now` and :meth:`trained` may change."""
        return [self.nobody, self.broken, *self.users, *self._form.picked, *self.desk.lists]

    def trained(self, user_id: str, first_user: str, language: str) -> Updates:
        """Return updates that offer a person who has just been trained, and that pick this person if nobody was
        picked."""
        updates, people = self.people_now(language), self._people(language)
        if user_id_of(first_user, ()) in ("", NOBODY) and user_id in (name for _, name in people):
            updates[self.users[0]] = compat.update(choices=compat.choices(people), value=user_id)
        return updates

    def _picked(self, user_id: str, request: gr.Request) -> Updates:
        """Choose the person whom another tab sends here."""
        language = self._language(request)
        choices = compat.choices(self._people(language))
        updates = self.people_now(language)
        if any(person.user_id == user_id for person in self._service.people.list()):
            updates[self.users[0]] = compat.update(choices=choices, value=user_id)
        return updates

    def _used(self, name: str, request: gr.Request) -> Updates:
        """Make a portrait one of the user's own templates, and choose it."""
        path, language = self._history.named(name), self._language(request)
        if path is None:
            return {self.picker.preset_note: panel.error(say("portrait gone", language))}
        return self.picker.keep([path], (), language)

    def _filled(self, name: str, request: gr.Request) -> Updates:
        """Fill in what made a portrait: its people, its parameters and its template."""
        language, path = self._language(request), self._history.named(name)
        if path is None:
            return {self.error: panel.error(say("portrait gone", language))}
        try:
            read = recipe.read(path)
            template = None if read.from_text else read.find_template(t.path for t in self.picker.titles().values())
        except EasyPhotoError as error:
            return {self.error: panel.error(translated(error.message, language))}
        values = {d.name: getattr(read.config, d.name) for d in declared(PortraitConfig)}
        users = [*read.user_ids[:MAX_FACES], *[NOBODY] * (MAX_FACES - len(read.user_ids))]
        count = min(max(1, len(read.user_ids)), MAX_FACES)
        wanting = template is None and not read.from_text
        words = say("template wanted", language, name=read.template_name) if wanting else say("filled in", language)
        return {
            **self._form.updates({**values, "seed": read.seed}),
            self.faces: count,
            self.error: panel.hint(words),
            **{
                part: compat.update(value=user, visible=compat.shown(i < count))
                for i, (part, user) in enumerate(zip(self.users, users, strict=True))
            },
            **({} if template is None else self.picker.chosen_now(template, language)),
        }

    def people_changed(self, user_id: str, page: str, language: str) -> Updates:
        """Return updates for a page on which somebody was deleted, has come, or has another name now."""
        return {**self.people_now(language), self._photos: self._photos_now(page, language)}

    def loaded(self, language: str, kept: Kept) -> Updates:
        """Return what a page shows when it is opened: fresh lists, and its portraits that are being made or were made
        last."""
        updates, people = self.people_now(language), self._people(language)
        updates[self.demo] = self._demo_hint(_first(people), "", language)
        if len(people) > 1:
            updates[self.users[0]] = compat.update(choices=compat.choices(people), value=_first(people))
        picked = {**self.picker.fresh(language), **self.picker.fetch.shown_again(language)}
        return {**updates, **picked, **self._last_shown(language, kept)}

    def faces_loaded(self) -> Updates:
        """Return how many faces a page shows when it is opened.

        This is an answer of its own, so that it arrives before anybody can have changed the number.
        """
        count = self._faces()
        shown = {user: compat.update(visible=compat.shown(i < count)) for i, user in enumerate(self.users)}
        return {self.faces: count, **shown}

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return list(dict.fromkeys([*self._lists, self.demo, *self.picker.fetch.running, *self._following, *self._made]))

    @property
    def _made(self) -> list[Any]:
        return [self.portraits, self.selected, self.recipe, self.take]

    # --- people ------------------------------------------------------------------------------------------------------

    def _faces(self) -> int:
        return min(max(1, self._settings.faces()), MAX_FACES)

    def _people(self, language: str) -> list[tuple[str, str]]:
        """Return each person's name on the page together with the user id."""
        return self._trained_here(language, scenes=False)

    def _trained_here(self, language: str, *, scenes: bool) -> list[tuple[str, str]]:
        known = [p for p in self._service.people.list() if p.scene is scenes]
        return [nobody(language), *((called(person, language), person.user_id) for person in known)]

    def _scenes(self, language: str) -> list[tuple[str, str]]:
        return self._trained_here(language, scenes=True)

    def _checkpoints(self, language: str) -> list[tuple[str, str]]:
        return self._models_for(_first(self._people(language)), language)

    def _models_for(self, user_id: str, language: str) -> list[tuple[str, str]]:
        """Return the base models by their names on the page. The first, empty one is what this person was trained
        on."""
        known = self._service.host.checkpoints()
        empty = model_names.as_trained(self._person(user_id), known, language)
        return [(empty, ""), *((model_names.called(c, language), c.name) for c in known)]

    def _person(self, user_id: str) -> Person | None:
        return next((p for p in self._service.people.list() if p.user_id == user_id), None)

    def _demo_hint(self, user_id: str, name: str, language: str) -> str:
        """Return the way to a full model, if portraits of this person with that base model use the small one."""
        known, person = self._service.host.checkpoints(), self._person(user_id)
        family = None if person is None else person.family
        used = next((c for c in known if (c.name == name if name else c.family is family)), None)
        return model_names.demo_hint(used, language)

    def _model_changed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        user, name = self._user_and_model(data)
        return {self.demo: self._demo_hint(user, name, self._language(request))}

    def _user_changed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Say what this person was trained on. A base model that was picked stays."""
        language, (user, name) = self._language(request), self._user_and_model(data)
        choices = compat.choices(self._models_for(user, language))
        value = {} if name else {"value": compat.value_of(choices, "")}
        return {
            self.demo: self._demo_hint(user, name, language),
            self._form.components["sd_model_checkpoint"]: compat.update(choices=choices, **value),
        }

    def _user_and_model(self, data: Mapping[Any, Any]) -> tuple[str, str]:
        model = data[self._form.components["sd_model_checkpoint"]]
        user = user_id_of(data[self.users[0]], self._service.people.list())
        return user, self._form.meant("sd_model_checkpoint", model) or ""

    def _control_changed(self, control: str) -> list[Any]:
        return [compat.update(visible=compat.shown(control == way)) for way in (INNER_POSE, UPLOADED_POSE)]

    def _pose_pictures(self) -> list[tuple[str, str]]:
        """Return the inner poses with their titles, drawn as for a model whose openpose control knows figures."""
        drawn = ((self._thumbnails.drawn(p.name, poses.draw(p, POSE_SIZE, Family.SD1)), p) for p in poses.known())
        return [(str(path), pose.title) for path, pose in drawn if path is not None]

    def _scene_chosen(self, title: str | None) -> Any:
        found = next((scene.prompt for scene in scenes.known() if scene.title == title), None)
        return compat.update() if found is None else found

    def _pose_selected(self, event: gr.SelectData) -> Any:
        index = compat.selected(event) + 1
        return POSES[index] if index < len(POSES) else compat.update()

    def _changed(self, job_id: str, request: gr.Request) -> Updates:
        return self._inputs_changed(job_id, self._language(request))

    def _faces_changed(self, count: float) -> list[Any]:
        return [compat.update(visible=compat.shown(i < int(count or 1))) for i in range(MAX_FACES)]

    def _faces_counted(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Say so if a preset that is chosen shows more faces than there are user ids."""
        most = self.picker.most_faces(data[self.picker.chosen] or [])
        wanting = most > int(data[self.faces] or 1)
        words = say("more faces", self._language(request), n=most) if wanting else ""
        return {self.faces_note: panel.hint(words) if words else ""}

    def _faces_shown(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show the faces of the first template that is chosen, and one user id for each of them."""
        language = self._language(request)
        try:
            found = self._service.faces_of(next(iter(self.picker.templates(data)), b""))
        except EasyPhotoError as error:
            return {
                self.crops: compat.update(visible=False),
                self.faces_note: panel.error(translated(error.message, language)),
            }
        drawn = [self._thumbnails.drawn(f"face-{uuid.uuid4().hex}", crop) for crop in found[:MAX_FACES]]
        shown = [(str(path), str(i + 1)) for i, path in enumerate(drawn) if path is not None]
        count = min(max(1, len(found)), MAX_FACES)
        return {
            self.crops: compat.update(value=shown, visible=bool(shown)),
            self.faces: count,
            self.faces_note: "" if found else panel.hint(say("no faces", language)),
            **{user: compat.update(visible=compat.shown(i < count)) for i, user in enumerate(self.users)},
        }

    def _crop_selected(self, event: gr.SelectData, *users: str | None) -> list[Any]:
        """Give the face that was clicked to the person who comes after the one who has it; nobody comes after the
        last."""
        people = self._service.people.list()
        names = [NOBODY, *(person.user_id for person in people if not person.scene)]
        face = min(compat.selected(event), MAX_FACES - 1)
        now = user_id_of(users[face], people)
        following = names[(names.index(now) + 1) % len(names)] if now in names else names[0]
        return [compat.update(value=following) if i == face else compat.update() for i in range(MAX_FACES)]

    # --- portraits ---------------------------------------------------------------------------------------------------

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            values = self._form.values(data)
            chosen = self._form.chosen(values)
            pose = next(iter(compat.files(data[self.pose])), None)
            if data[self.picker.mode] != TEXT or values["t2i_control_way"] != UPLOADED_POSE:
                pose = None  # the picture belongs to a choice that isn't on display
            people = self._service.people.list()
            users = tuple(user_id_of(data[u], people) or NOBODY for u in self.users[: int(data[self.faces] or 1)])
            values["scene_id"] = user_id_of(values["scene_id"], people)
            config = from_mapping(PortraitConfig, values)
            shown = next(iter(compat.files(data[self.shown])), None)
            if not config.id_control and config.ref_mode_choose == REF_MODES[0]:
                shown = None  # the picture belongs to an adapter that isn't asked for
            templates = self.picker.templates(data)
            matched = bool(data[self.by_likeness])
            asked = PortraitRequest(
                users, templates, config, pose, chosen=chosen, identity_image=shown, by_likeness=matched
            )
            job = self._service.generate(asked)
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._shown(job, language)

    def _made_by(self, job: Job[Any]) -> list[Portrayed]:
        return [e for e in panel.View.of(job).portrayed if e.path and Path(e.path).is_file()]

    def _mark(self, job: Job[Any]) -> object:
        return len(self._made_by(job))

    def _showing(self, job: Job[Any], language: str) -> Updates:
        made = self._made_by(job)
        return {
            self.portraits: [(e.path, _caption(e, language)) for e in made],
            self.selected: made[0].path if made else None,
            self.recipe: panel.recipe(Path(made[0].path)) if made else "",
            self.take: self._to_take(Path(made[0].path), language) if made else "",
        }

    def _to_take(self, path: Path, language: str) -> str:
        """Return the way to the file of a portrait, and to the portrait beside its template."""
        return history_view.made_just_now(path, self._history.name(path), language)

    def _portrait_selected(self, event: gr.SelectData, job_id: str, request: gr.Request) -> tuple[Any, Any, Any]:
        try:
            made = panel.View.of(self._service.jobs.get(job_id)).portrayed
        except NotFound:
            made = []
        index = compat.selected(event)
        if index >= len(made):
            return compat.update(), compat.update(), compat.update()
        path = Path(made[index].path)
        return panel.recipe(path), made[index].path, self._to_take(path, self._language(request))


def _first(people: Sequence[tuple[str, str]]) -> str:
    """Return the first person without a warning, or else the first person at all."""
    somebody = [pair for pair in people if pair[1] != NOBODY]
    return next((name for called, name in somebody if called == name), somebody[0][1] if somebody else NOBODY)


def _caption(event: Portrayed, language: str) -> str:
    return panel.likeness_caption(event.likeness, language)
