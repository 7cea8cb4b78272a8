"""The part of the Inference tab where templates are chosen: presets, one upload, many uploads or a folder, or text
alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto import pictures
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.imaging import folder
from easyphoto.messages import ENGLISH, translated
from easyphoto.pictures import Source
from easyphoto.service import EasyPhoto
from easyphoto.templates import Template
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.gallery_desk import GalleryDesk
from easyphoto.ui.gallery_fetch import GalleryFetch
from easyphoto.ui.template_filter import ALL, ANY, TemplateFilter, by_title
from easyphoto.ui.texts import say

PREFIX = "easyphoto_generate"
PRESETS, SINGLE, MANY, TEXT = "presets", "single", "many", "text"


class TemplatePicker:
    """The components of this part and their events. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language
        self.filter = TemplateFilter(service, language)
        self.fetch = GalleryFetch(service, language)
        self.desk = GalleryDesk(service, language)

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self, text: Callable[[], None]) -> None:
        """Make the components here; ``text`` makes those of the inner tab that works without a template."""
        self.mode = gr.State(PRESETS)
        self.many = gr.State([])
        self.tabs: dict[str, Any] = {}
        with gr.Tabs(elem_id=f"{PREFIX}_templates"):
            self.tabs[PRESETS] = compat.tab("Preset templates", f"{PREFIX}_tab_presets")
            with self.tabs[PRESETS]:
                self._build_presets()
            self.tabs[SINGLE] = compat.tab("Upload a template", f"{PREFIX}_tab_single")
            with self.tabs[SINGLE]:
                self.single = compat.picture_input("Template", height=360, elem_id=f"{PREFIX}_single")
            self.tabs[MANY] = compat.tab("Many templates", f"{PREFIX}_tab_many")
            with self.tabs[MANY]:
                self._build_many()
            self.tabs[TEXT] = compat.tab("Text to portrait", f"{PREFIX}_tab_text")
            with self.tabs[TEXT]:
                text()

    def _build_presets(self) -> None:
        self.filter.build()
        shown, chosen = self.filter.found(), list(self.titles())[:1]
        self.presets = gr.Gallery(
            value=self._preset_pictures(shown, chosen),
            label="Click a template to choose it.",
            columns=4,
            height="auto",
            object_fit="cover",
            allow_preview=False,
            elem_id=f"{PREFIX}_presets",
        )
        self.found_note = compat.html("", elem_id=f"{PREFIX}_found_note")
        self.chosen = gr.CheckboxGroup(
            choices=self._choices(shown, chosen),
            value=chosen,
            label="Chosen presets",
            info="Chosen in the gallery above; a click here lets go of one.",
            elem_id=f"{PREFIX}_chosen",
        )
        self.fetch.build()
        with gr.Row():
            self.add_own = gr.UploadButton(
                "Add your own", size="sm", file_count="multiple", file_types=["image"], elem_id=f"{PREFIX}_add"
            )
            self.delete_own = gr.Button("Delete chosen of your own", size="sm", elem_id=f"{PREFIX}_delete")
        self.preset_note = compat.html("", elem_id=f"{PREFIX}_preset_note")
        self.desk.build()

    def _build_many(self) -> None:
        with gr.Row():
            self.upload_many = gr.UploadButton(
                "Upload pictures", file_count="multiple", file_types=["image"], elem_id=f"{PREFIX}_many"
            )
            self.upload_folder = gr.UploadButton("Upload a folder", file_count="directory", elem_id=f"{PREFIX}_folder")
            self.clear_many = gr.Button("Clear templates", elem_id=f"{PREFIX}_clear")
        self.many_shown = compat.html("", elem_id=f"{PREFIX}_many_shown")

    # --- events ------------------------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Connect the events."""
        for name, tab in self.tabs.items():
            compat.listen(tab.select, _answer(name), None, [self.mode], quiet=True)
        filtered = [self.filter.gallery, self.filter.faces, self.filter.words]
        compat.listen(self.presets.select, self.preset_clicked, [self.chosen, *filtered], [self.chosen], quiet=True)
        shown, asked = [self.presets, self.chosen, self.found_note], self.shows
        compat.listen(self.chosen.change, self._marked, asked, [self.presets], quiet=True)
        self.filter.bind(self._filtered, shown, {self.chosen})
        self.fetch.bind(self._filtered, shown, asked)
        self.desk.bind(self.filter.gallery, self._galleries_changed, [self.filter.gallery])
        own = self.kept
        compat.listen(self.add_own.upload, self.add, {self.add_own, self.chosen}, own)
        compat.listen(self.delete_own.click, self.delete, [self.chosen], own)
        many = [self.many, self.many_shown]
        for button in (self.upload_many, self.upload_folder):
            compat.listen(button.upload, self.many_uploaded, [button, self.many], many)
        compat.listen(self.clear_many.click, self._many_cleared, None, many)

    @property
    def inputs(self) -> set[Any]:
        """The components that :meth:`templates` reads."""
        return {self.mode, self.chosen, self.single, self.many}

    @property
    def changes(self) -> list[Any]:
        """Return the events by which the user chooses other templates."""
        uploads = (self.upload_many, self.upload_folder)
        clicked = (self.chosen.input, self.presets.select, self.clear_many.click)
        return [*clicked, self.single.upload, *(button.upload for button in uploads)]

    @property
    def lists(self) -> list[Any]:
        """The components that :meth:`fresh` may change."""
        return [self.presets, self.chosen, self.filter.gallery, *self.fetch.loads]

    def fresh(self, language: str = ENGLISH, data: Mapping[Any, Any] | None = None) -> Updates:
        """Return updates that list all templates as they are now, and offer what can be downloaded. ``data`` holds what
        the page shows (:attr:`shows`); without it, the page was just opened."""
        shown = self.filter.found() if data is None else self.filter.found_in(data)
        chosen = [shown[0].title] if data is None and shown else (data or {}).get(self.chosen) or []
        return {
            self.presets: compat.update(value=self._preset_pictures(shown, chosen)),
            self.chosen: compat.update(choices=self._choices(shown, chosen)),
            self.filter.gallery: self.filter.fresh(),
            **self.fetch.fresh(language),
        }

    @property
    def shows(self) -> set[Any]:
        """The components that say what is shown and chosen."""
        return {self.chosen, *self.filter.inputs}

    def templates(self, data: Mapping[Any, Any]) -> tuple[Source, ...]:
        """Return the templates in the inner tab that is open; there are none in the tab for text. Raises
        :class:`InvalidRequest` if another tab is empty."""
        mode = data[self.mode]
        if mode == TEXT:
            return ()
        found: list[Source] = []
        if mode == PRESETS:
            titles = self.titles()
            found = [titles[t].path for t in data[self.chosen] or [] if t in titles]
        elif mode == SINGLE:
            found = [*compat.files(data[self.single])]
        else:
            found = [Path(p) for p in data[self.many] or []]
        if not found:
            raise InvalidRequest("There is no template: choose or upload one.")
        return tuple(found)

    # --- presets -----------------------------------------------------------------------------------------------------

    def titles(self) -> dict[str, Template]:
        """Return all templates by their titles on the page."""
        return by_title(self._service.templates.everything())

    def most_faces(self, chosen: Sequence[str]) -> int:
        """Return how many faces the one of these titles shows that shows most; those that nobody counted don't
        count."""
        titles = self.titles()
        return max((titles[t].faces or 0 for t in chosen if t in titles), default=0)

    def _titled(self, shown: Sequence[Template]) -> dict[str, Template]:
        """Return those that are shown by the titles that they have among all."""
        titles = {template.name: title for title, template in self.titles().items()}
        return {titles[t.name]: t for t in shown if t.name in titles}

    def _preset_pictures(self, shown: Sequence[Template], chosen: Sequence[str]) -> list[tuple[str, str]]:
        """Return small copies with titles; those that are chosen have a mark."""
        small = self._service.templates.thumbnails
        return [(str(small.of(t.path, chosen=title in chosen)), title) for title, t in self._titled(shown).items()]

    def _choices(self, shown: Sequence[Template], chosen: Sequence[str]) -> list[str]:
        """Return what can be ticked: what is chosen and what is shown."""
        return list(dict.fromkeys([*chosen, *self._titled(shown)]))

    def preset_clicked(
        self,
        event: gr.SelectData,
        chosen: list[str],
        gallery: str | None = ALL,
        faces: str | None = ANY,
        words: str | None = "",
    ) -> list[str]:
        """Choose the template that was clicked among those that are shown, or let go of it if it was chosen already."""
        titles, index = list(self._titled(self.filter.found(gallery, faces, words))), compat.selected(event)
        if not 0 <= index < len(titles):
            return chosen
        return [t for t in self.titles() if (t in chosen) != (t == titles[index])]

    def _marked(self, data: Mapping[Any, Any]) -> Updates:
        chosen = data[self.chosen] or []
        return {self.presets: compat.update(value=self._preset_pictures(self.filter.found_in(data), chosen))}

    def _filtered(self, data: Mapping[Any, Any], language: str) -> Updates:
        return {
            **self._marked(data),
            self.chosen: compat.update(choices=self._choices(self.filter.found_in(data), data[self.chosen] or [])),
            self.found_note: self.filter.note(data, language),
        }

    def _galleries_changed(self, name: str, language: str) -> Updates:
        return {self.filter.gallery: self.filter.fresh(name)}

    def add(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Keep uploaded pictures as the user's own presets, and choose them."""
        return self.keep(compat.files(data[self.add_own]), data[self.chosen] or [], self._language(request))

    @property
    def kept(self) -> list[Any]:
        """The components that :meth:`keep` may change."""
        return [self.presets, self.chosen, self.preset_note, self.filter.gallery, self.filter.faces, self.filter.words]

    def chosen_now(self, path: Path, language: str) -> Updates:
        """Return updates that choose the template in this file alone."""
        titles = [title for title, template in self.titles().items() if template.path == path]
        shown = self.filter.found()
        return {
            self.presets: compat.update(value=self._preset_pictures(shown, titles)),
            self.chosen: compat.update(choices=self._choices(shown, titles), value=titles),
            **self.fetch.fresh(language),
        }

    def keep(self, paths: Sequence[Path], chosen: Sequence[str], language: str) -> Updates:
        """Keep pictures as the user's own presets, and choose them beside those that are ``chosen``."""
        names: list[str] = []
        try:
            for path in paths:
                picture = pictures.read(path)
                names.append(self._service.templates.add(path.stem, picture.image, picture.alpha).title)
            note = panel.good(say("added", language, name=", ".join(names)))
        except EasyPhotoError as error:
            note = panel.error(translated(error.message, language))
        return self._presets_now([*chosen, *names], note)

    def delete(self, chosen: list[str], request: gr.Request) -> Updates:
        """Delete those of the chosen presets that the user added."""
        language, titles = self._language(request), self.titles()
        own = [titles[t].name for t in chosen or [] if t in titles and titles[t].own and not titles[t].gallery]
        note = panel.good(say("deleted", language, n=len(own))) if own else panel.error(say("own_only", language))
        try:
            for name in own:
                self._service.templates.delete(name)
        except EasyPhotoError as error:
            note = panel.error(translated(error.message, language))
        return self._presets_now(chosen or [], note)

    def _presets_now(self, chosen: Sequence[str], note: str) -> Updates:
        shown, left = self.filter.found(), [t for t in self.titles() if t in chosen]
        return {
            self.presets: compat.update(value=self._preset_pictures(shown, left)),
            self.chosen: compat.update(choices=self._choices(shown, left), value=left),
            self.filter.gallery: self.filter.fresh(ALL),
            self.filter.faces: ANY,
            self.filter.words: "",
            self.preset_note: note,
        }

    # --- many --------------------------------------------------------------------------------------------------------

    def many_uploaded(self, uploaded: Any, have: list[str], request: gr.Request) -> Updates:
        """Add the pictures among the uploaded files."""
        language, paths = self._language(request), [Path(p) for p in have or []]
        listing = folder.listed(compat.files(uploaded))
        paths += [p for p in listing.pictures if p not in paths]
        words = say("templates_uploaded", language, n=len(paths))
        passed = panel.error(translated(listing.notice, language)) if listing.notice else ""
        return {self.many: [str(p) for p in paths], self.many_shown: passed + panel.pictures_shown(paths, words)}

    def _many_cleared(self) -> Updates:
        return {self.many: [], self.many_shown: ""}


def _answer(value: str) -> Callable[[], str]:
    def answer() -> str:
        return value

    return answer
