"""The Video tab: choose a clip and see who is in it, or say what to draw; say who takes whose place, and watch it being
made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from easyphoto.clips import decoding
from easyphoto.clips.bounds import MAX_RATE, FileFormat
from easyphoto.config import DrawnClipConfig, PortraitConfig, from_mapping
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.jobs import Job
from easyphoto.messages import translated
from easyphoto.service import NOBODY, ClipDrawing, EasyPhoto, VideoRequest
from easyphoto.ui import compat, model_names, panel, video_view
from easyphoto.ui.compat import Updates
from easyphoto.ui.form import Form
from easyphoto.ui.job_tab import JobTab
from easyphoto.ui.kept import Kept
from easyphoto.ui.people_desk import called, nobody, user_id_of
from easyphoto.ui.player import Player
from easyphoto.ui.settings import MAX_FACES
from easyphoto.ui.texts import say

PREFIX = "easyphoto_video"
ENDINGS = ("video", ".gif", ".webp", ".png")
"""What may be uploaded, as gradio names it."""
FORMATS: tuple[str, ...] = get_args(FileFormat)
NOT_IN_CLIPS = frozenset(
    {
        "batch_size",
        "lora_weights_auto",
        "ipa_weight_auto",
        "background_restore",
        "background_restore_denoising_strength",
        "super_resolution",
        "super_resolution_method",
        "super_resolution_ratio",
        "skin_retouching_bool",
    }
)
"""The parameters of a portrait that change nothing in a clip."""
CLIP, TEXT, PICTURES = "clip", "text", "pictures"
"""What a clip may be made of: the inner tabs."""
OF_TEXT = ("t2v_input_width", "t2v_input_height", "upload_control_video_type")
OF_PICTURES = ("i2v_denoising_strength",)
"""The parameters of a drawing that stand in one inner tab, and mean nothing to the clip of the other."""


class VideoTab(JobTab):
    """The components of the Video tab and their events."""

    what, prefix, no_job = "video", PREFIX, "No clip yet."

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        super().__init__(service, language)
        self._form = Form(PortraitConfig, PREFIX, {}, {"sd_model_checkpoint": self._models})
        self._drawn = Form(DrawnClipConfig, PREFIX, {}, {})

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            with gr.Column(scale=5):
                self._build_sources()
                self._build_people()
                self._build_options()
            with gr.Column(scale=4):
                self._build_result()

    def _build_sources(self) -> None:
        self.mode = gr.State(CLIP)
        self.tabs: dict[str, Any] = {}
        self.prompts: dict[str, Any] = {}
        with gr.Tabs(elem_id=f"{PREFIX}_sources"):
            self.tabs[CLIP] = compat.tab("From a clip", f"{PREFIX}_tab_clip")
            with self.tabs[CLIP]:
                self._build_clip()
            self.tabs[TEXT] = compat.tab("From text", f"{PREFIX}_tab_text")
            with self.tabs[TEXT]:
                self._build_text()
            self.tabs[PICTURES] = compat.tab("From pictures", f"{PREFIX}_tab_pictures")
            with self.tabs[PICTURES]:
                self._build_pictures()

    def _build_text(self) -> None:
        self._build_prompt(TEXT)
        self._drawn.add(*OF_TEXT[:2])
        self.control = gr.File(
            label="Control clip (optional)", file_types=list(ENDINGS), height=140, elem_id=f"{PREFIX}_control"
        )
        self._drawn.add(*OF_TEXT[2:])

    def _build_pictures(self) -> None:
        with gr.Row():
            self.image = compat.picture_input("First picture", height=240, elem_id=f"{PREFIX}_image")
            self.last_image = compat.picture_input("Last picture (optional)", height=240, elem_id=f"{PREFIX}_last")
        self._build_prompt(PICTURES)
        self._drawn.add(*OF_PICTURES)

    def _build_prompt(self, mode: str) -> None:
        gr.Markdown(
            "The clip is drawn by a motion module first; then people are put into it, or with none it stays as it is.",
            elem_classes=["easyphoto-hint"],
        )
        self.prompts[mode] = gr.Textbox(label="What the clip shows", lines=2, elem_id=f"{PREFIX}_prompt_{mode}")

    def _build_clip(self) -> None:
        self.clip = gr.File(label="Clip", file_types=list(ENDINGS), height=140, elem_id=f"{PREFIX}_clip")
        gr.Markdown(
            "A video, or an animated GIF, WebP or PNG. What is made is as long and as large.",
            elem_classes=["easyphoto-hint"],
        )
        self.preview = Player("Preview", f"{PREFIX}_preview")
        self.facts = compat.html("", elem_id=f"{PREFIX}_facts")
        self.found = compat.html("", elem_id=f"{PREFIX}_people")

    def _build_people(self) -> None:
        people = self._people("en")
        self.count = gr.Slider(
            1,
            MAX_FACES,
            value=1,
            step=1,
            label="Number of people",
            info="One user id for each person of the clip, in the order in which they come, from left to right.",
            elem_id=f"{PREFIX}_count",
        )
        with gr.Row():
            self.users = [
                gr.Dropdown(
                    choices=compat.choices(people),
                    value=NOBODY,
                    label=f"User id, person {i + 1}",
                    visible=i == 0,
                    elem_id=f"{PREFIX}_user_{i + 1}",
                    allow_custom_value=True,
                )
                for i in range(MAX_FACES)
            ]
        self.by_likeness = gr.Checkbox(
            value=False,
            label="By likeness",
            info="Everybody takes the place of whoever is most like them.",
            elem_id=f"{PREFIX}_by_likeness",
        )

    def _build_options(self) -> None:
        with gr.Row():
            self.format = gr.Dropdown(
                choices=list(FORMATS), value=FORMATS[0], label="Format", elem_id=f"{PREFIX}_format"
            )
            self.max_fps = gr.Slider(
                1, MAX_RATE, value=MAX_RATE, step=1, label="Frames a second at most", elem_id=f"{PREFIX}_max_fps"
            )
            self.max_frames = gr.Number(
                value=0,
                precision=0,
                label="Frames at most",
                info="0 makes all of them, and draws 16.",
                elem_id=f"{PREFIX}_max_frames",
            )
        self._form.add(*(name for name in self._form.names("basic") if name not in NOT_IN_CLIPS))
        with compat.accordion("Advanced options"):
            self._form.add(*(name for name in self._form.names("advanced") if name not in NOT_IN_CLIPS))
            self._drawn.add("repaint_together", "motion_module")

    def _build_result(self) -> None:
        with gr.Row():
            self.start = gr.Button("Make the clip", variant="primary", elem_id=f"{PREFIX}_start")
            self.cancel = gr.Button("Cancel", variant="stop", elem_id=f"{PREFIX}_cancel")
        self._make_error()
        self._make_progress()
        self.result = Player("Result", f"{PREFIX}_result")
        self.likeness = compat.html("", elem_id=f"{PREFIX}_likeness")
        self.recipe = gr.Textbox(
            label="Parameters of the clip", lines=4, max_lines=16, interactive=False, elem_id=f"{PREFIX}_recipe"
        )
        self._make_state()

    # --- events ------------------------------------------------------------------------------------------------------

    def bind(self, opened: Any) -> None:
        """Connect the events; ``opened`` is the tab that all this stands in."""
        looked = {self.clip, self.max_fps, self.max_frames}
        shown = [*self.preview.parts, self.facts, self.found, self.error]
        changed = compat.listen(self.clip.change, self._clip_changed, {self.clip}, shown)
        compat.listen(changed.then, self._look, looked, [self.found, self.count])
        compat.listen(self.count.change, self._count_changed, [self.count], self.users, quiet=True)
        compat.listen(opened.select, self._opened, None, self._lists, quiet=True)
        for name, tab in self.tabs.items():
            compat.listen(tab.select, _answer(name), None, [self.mode], quiet=True)
        drawing = {self.mode, *self.prompts.values(), self.image, self.last_image, self.control}
        forms = {*self._form.components.values(), *self._drawn.components.values()}
        inputs = {*looked, self.count, *self.users, self.by_likeness, self.format, *drawing, *forms}
        compat.listen(self.start.click, self._start, inputs, [*self._following, *self._made])
        compat.listen(self.cancel.click, self._cancel, [self.job], [self.progress])
        live = [self.progress, self.seen, *self._made]
        compat.listen(self.tick.click, self._tick, {self.job, self.seen}, live, quiet=True)

    def loaded(self, language: str, kept: Kept) -> Updates:
        """Return what a page shows when it is opened: its clip that is being made or was made last."""
        return {**self._fresh(language), **self._last_shown(language, kept)}

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return [*self._lists, *self._following, *self._made]

    @property
    def _lists(self) -> list[Any]:
        return [*self.users, *self._form.picked]

    @property
    def _made(self) -> list[Any]:
        return [*self.result.parts, self.likeness, self.recipe]

    def _opened(self, request: gr.Request) -> Updates:
        return self._fresh(self._language(request))

    def _fresh(self, language: str) -> Updates:
        """Return updates that list everybody and every base model that can be picked now."""
        people = compat.choices(self._people(language))
        return {**{user: compat.update(choices=people) for user in self.users}, **self._form.fresh_choices(language)}

    def _people(self, language: str) -> list[tuple[str, str]]:
        known = [person for person in self._service.people.list() if not person.scene]
        return [nobody(language), *((called(person, language), person.user_id) for person in known)]

    def _models(self, language: str) -> list[tuple[str, str]]:
        known = self._service.host.checkpoints()
        empty = model_names.as_trained(None, known, language)
        return [(empty, ""), *((model_names.called(c, language), c.name) for c in known)]

    # --- the clip ----------------------------------------------------------------------------------------------------

    def _clip_changed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show the clip that was chosen, before anybody looks for people in it."""
        language, path = self._language(request), self._path(data)
        away = {**self.preview.show(None), self.facts: "", self.found: "", self.error: ""}
        if path is None:
            return away
        try:
            clip = decoding.probe(path)
        except EasyPhotoError as error:
            return {**away, **self._refused(error, language)}
        looking = panel.hint(say("clip looking", language))
        return {**away, **self.preview.show(path), self.facts: video_view.facts(clip, language), self.found: looking}

    def _look(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show who is in the clip, and make room for a user id for each of them."""
        language, path = self._language(request), self._path(data)
        if path is None:
            return {self.found: ""}
        try:
            seen = self._service.people_in_clip(self._request(data, path))
        except EasyPhotoError as error:
            return {self.found: panel.hint(translated(error.message, language))}
        count = min(max(1, len(seen.people)), MAX_FACES)
        return {self.found: video_view.people(seen, language), self.count: count}

    def _count_changed(self, count: float) -> list[Any]:
        return [compat.update(visible=compat.shown(i < int(count or 1))) for i in range(MAX_FACES)]

    def _path(self, data: Mapping[Any, Any]) -> Path | None:
        return next(iter(compat.files(data[self.clip])), None)

    def _request(self, data: Mapping[Any, Any], clip: Path) -> VideoRequest:
        """What is asked of the clip, as far as it concerns its frames."""
        return VideoRequest(
            (),
            clip,
            max_fps=float(compat.number(data[self.max_fps], "max_fps", whole=False)),
            max_frames=int(compat.number(data[self.max_frames], "max_frames", whole=True)),
            keep=True,
        )

    # --- the job -----------------------------------------------------------------------------------------------------

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            drawing = None if data[self.mode] == CLIP else self._drawing(data)
            clip = self._path(data) if drawing is None else Path(str(data[self.mode]))
            if clip is None:
                raise InvalidRequest("Upload a clip first.")
            values = self._form.values(data)
            people = self._service.people.list()
            users = tuple(user_id_of(data[u], people) or NOBODY for u in self.users[: int(data[self.count] or 1)])
            asked = replace(
                self._request(data, clip),
                user_ids=users,
                config=from_mapping(PortraitConfig, values),
                format=data[self.format],
                by_likeness=bool(data[self.by_likeness]),
                chosen=self._form.chosen(values),
                drawing=drawing,
            )
            job = self._service.video(asked)
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._shown(job, language)

    def _drawing(self, data: Mapping[Any, Any]) -> ClipDrawing:
        """What is to be drawn, as the inner tab says that is open."""
        mode = data[self.mode]
        image, last, control = (
            next(iter(compat.files(data[part])), None) if mode == of else None
            for part, of in ((self.image, PICTURES), (self.last_image, PICTURES), (self.control, TEXT))
        )
        if mode == PICTURES and image is None:
            raise InvalidRequest("Upload the first picture of the clip.")
        values = self._drawn.values(data)
        elsewhere = OF_TEXT if mode == PICTURES else OF_PICTURES
        config = from_mapping(DrawnClipConfig, {n: value for n, value in values.items() if n not in elsewhere})
        return ClipDrawing(data[self.prompts[mode]] or "", image, last, config, control=control)

    def _mark(self, job: Job[Any]) -> object:
        return job.state

    def _showing(self, job: Job[Any], language: str) -> Updates:
        nothing: Updates = {**self.result.show(None), self.likeness: "", self.recipe: ""}
        if job.state != "finished":
            return nothing
        try:
            made = job.wait(0)
        except EasyPhotoError:
            return nothing
        if not made.path.exists():  # somebody has removed it
            return nothing
        return {
            **self.result.show(made.path),
            self.likeness: video_view.likeness(made, language),
            self.recipe: video_view.recipe(made),
        }


def _answer(mode: str) -> Callable[[], str]:
    return lambda: mode
