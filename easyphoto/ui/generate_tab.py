"""The Inference tab: who, on what, how; and the portraits as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.config import SCENE_CONTROLS, PortraitConfig, from_mapping
from easyphoto.errors import EasyPhotoError, NotFound
from easyphoto.events import Portrayed
from easyphoto.jobs import Job
from easyphoto.service import NOBODY, EasyPhoto, PortraitRequest
from easyphoto.ui import compat, panel
from easyphoto.ui.form import Form
from easyphoto.ui.job_tab import JobTab, Updates
from easyphoto.ui.settings import MAX_FACES, Settings
from easyphoto.ui.template_picker import PREFIX, TEXT, TemplatePicker

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Strength of the person": (
        "apply_face_fusion_before",
        "before_face_fusion_ratio",
        "apply_face_fusion_after",
        "after_face_fusion_ratio",
        "lora_weights",
    ),
    "Diffusion": (
        "first_diffusion_steps",
        "first_denoising_strength",
        "second_diffusion_steps",
        "second_denoising_strength",
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
    "Background and finish": (),
}
"""The advanced options by accordion; the last takes what no other names."""


class GenerateTab(JobTab):
    """Components and what they do."""

    what, prefix, no_job = "generate", PREFIX, "No portraits yet."

    def __init__(self, service: EasyPhoto, settings: Settings, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        self._settings = settings
        self.picker = TemplatePicker(service, language)
        choices = {"sd_model_checkpoint": self._checkpoints, "scene_id": self._scenes}
        self._form = Form(PortraitConfig, PREFIX, {}, choices)

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            with gr.Column(scale=5):
                self._build_people()
                self.picker.build(self._build_text)
                self._build_options()
            with gr.Column(scale=4):
                self._build_portraits()

    def _build_people(self) -> None:
        count, people = self._faces(), self._people()
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
                    choices=people,
                    value=people[1] if i == 0 and len(people) > 1 else NOBODY,
                    label=f"User id, face {i + 1}",
                    visible=i < count,
                    elem_id=f"{PREFIX}_user_{i + 1}",
                    allow_custom_value=True,
                )
                for i in range(MAX_FACES)
            ]

    def _build_text(self) -> None:
        self._form.add(*self._form.names("text"))
        self.pose = compat.picture_input("Picture with the pose", height=240, elem_id=f"{PREFIX}_pose")

    def _build_options(self) -> None:
        self._form.add(*self._form.names("basic"))
        with compat.accordion("Advanced options"):
            named = {name for group in GROUPS.values() for name in group}
            for title, group in GROUPS.items():
                rest = [name for name in self._form.names("advanced") if name not in named]
                with compat.accordion(title, open=True):
                    self._form.add(*(group or rest))

    def _build_portraits(self) -> None:
        with gr.Row():
            self.start = gr.Button("Generate", variant="primary", elem_id=f"{PREFIX}_start")
            self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
        self._make_error()
        self._make_progress()
        self.portraits = gr.Gallery(
            label="Portraits", columns=2, height="auto", object_fit="contain", elem_id=f"{PREFIX}_portraits"
        )
        self.recipe = gr.Textbox(
            label="Parameters of the selected portrait",
            placeholder="Select a portrait to see how it was made.",
            lines=6,
            max_lines=16,
            interactive=False,
            elem_id=f"{PREFIX}_recipe",
        )
        # What a host's own buttons send on: its galleries have no captions, and its script finds no selection in ours.
        self.selected = gr.Image(type="pil", visible=False, elem_id=f"{PREFIX}_selected")
        if self._settings.send_to is not None:
            self._settings.send_to(self.selected, self.recipe)
        self._make_state()

    # --- events ------------------------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Connect the events."""
        compat.listen(self.faces.change, self._faces_changed, [self.faces], self.users, quiet=True)
        compat.listen(self.refresh.click, self.fresh, None, self._lists)
        self.picker.bind()
        inputs = {self.faces, *self.users, self.pose, *self.picker.inputs, *self._form.components.values()}
        compat.listen(self.start.click, self._start, inputs, [*self._following, *self._made])
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        live = [self.progress, self.seen, *self._made]
        compat.listen(self.tick.click, self._tick, {self.job, self.seen}, live, quiet=True)
        compat.listen(
            self.portraits.select, self._portrait_selected, [self.job], [self.recipe, self.selected], quiet=True
        )

    def fresh(self) -> Updates:
        """Everything that can be picked, as it is now."""
        people = self._people()
        updates: Updates = {user: compat.update(choices=people) for user in self.users}
        updates |= self._form.fresh_choices()
        return updates | self.picker.fresh()

    @property
    def _lists(self) -> list[Any]:
        return [*self.users, *self._form.fresh_choices(), *self.picker.lists]

    @property
    def people_lists(self) -> list[Any]:
        """The components that :meth:`trained` may change."""
        return [*self.users, *self._form.fresh_choices()]

    def trained(self, user_id: str, first_user: str) -> Updates:
        """Somebody was trained: they can be picked, and are, where nobody was."""
        people = self._people()
        updates: Updates = {user: compat.update(choices=people) for user in self.users}
        updates |= self._form.fresh_choices()
        if first_user in (None, "", NOBODY) and user_id in people:
            updates[self.users[0]] = compat.update(choices=people, value=user_id)
        return updates

    def loaded(self, language: str) -> Updates:
        """What a page that is opened shows: fresh lists, and the portraits that run or ended last."""
        updates, count, people = self.fresh(), self._faces(), self._people()
        updates[self.faces] = count
        for i, user in enumerate(self.users):
            updates[user] = compat.update(choices=people, visible=i < count)
        if len(people) > 1:
            updates[self.users[0]] = compat.update(choices=people, value=people[1])
        return updates | self._last_shown(language)

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return [self.faces, *self._lists, *self._following, *self._made]

    @property
    def _made(self) -> list[Any]:
        return [self.portraits, self.selected, self.recipe]

    # --- people ------------------------------------------------------------------------------------------------------

    def _faces(self) -> int:
        return min(max(1, self._settings.faces()), MAX_FACES)

    def _people(self) -> list[str]:
        return [NOBODY, *(p.user_id for p in self._service.people.list() if not p.scene)]

    def _scenes(self) -> list[str]:
        return [NOBODY, *(p.user_id for p in self._service.people.list() if p.scene)]

    def _checkpoints(self) -> list[str]:
        return ["", *(c.name for c in self._service.host.checkpoints())]

    def _faces_changed(self, count: float) -> list[Any]:
        return [compat.update(visible=i < int(count or 1)) for i in range(MAX_FACES)]

    # --- portraits ---------------------------------------------------------------------------------------------------

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            values = self._form.values(data)
            pose = next(iter(compat.files(data[self.pose])), None)
            if data[self.picker.mode] != TEXT or values["t2i_control_way"] != SCENE_CONTROLS[2]:
                pose = None
            users = tuple(str(data[u] or NOBODY) for u in self.users[: int(data[self.faces] or 1)])
            config = from_mapping(PortraitConfig, values)
            job = self._service.generate(PortraitRequest(users, self.picker.templates(data), config, pose))
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._shown(job, language)

    def _showing(self, job: Job[Any], language: str) -> tuple[object, Updates]:
        made = [e for e in panel.View.of(job).portrayed if e.path and Path(e.path).is_file()]
        return len(made), {
            self.portraits: [(e.path, _caption(e, language)) for e in made],
            self.selected: made[0].path if made else None,
            self.recipe: panel.recipe(Path(made[0].path)) if made else "",
        }

    def _ticked(self, job: Job[Any], updates: Updates, data: Mapping[Any, Any], language: str) -> Updates:
        if updates[self.seen] == data[self.seen]:
            for unchanged in self._made:
                updates.pop(unchanged)
        return updates

    def _portrait_selected(self, event: gr.SelectData, job_id: str) -> tuple[Any, Any]:
        try:
            made = panel.View.of(self._service.jobs.get(job_id)).portrayed
        except NotFound:
            return compat.update(), compat.update()
        index = compat.selected(event)
        if index >= len(made):
            return compat.update(), compat.update()
        return panel.recipe(Path(made[index].path)), made[index].path


def _caption(event: Portrayed, language: str) -> str:
    return panel.likeness_caption(event.likeness, language)
