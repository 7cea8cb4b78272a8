"""The Portraits tab: everything that was made, by person, with the template beside each portrait."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.inference import recipe
from easyphoto.messages import translated
from easyphoto.people import Person
from easyphoto.service import NOBODY, EasyPhoto
from easyphoto.service.requests import OVER_API
from easyphoto.storage import files
from easyphoto.ui import compat, file_manager, history_view, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.history import History, Made, of_people
from easyphoto.ui.shared_files import SharedFiles
from easyphoto.ui.texts import say

PREFIX = "easyphoto_history"
SHOWN = 60
"""How many portraits are shown at once."""
HERE, ELSEWHERE = "Made here", "Made over the API"
NEWEST, ALIKE = "Newest first", "Most alike first"


class HistoryTab:
    """The components of the Portraits tab and their events. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language
        self.history = History(service.paths.portraits)
        self._files = SharedFiles()

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            self.person = gr.Dropdown(
                choices=[], value=None, label="Person", allow_custom_value=True, elem_id=f"{PREFIX}_person"
            )
            self.origin = gr.Radio(choices=[HERE, ELSEWHERE], value=HERE, label="Where", elem_id=f"{PREFIX}_origin")
            self.order = gr.Radio(choices=[NEWEST, ALIKE], value=NEWEST, label="Order", elem_id=f"{PREFIX}_order")
        with gr.Row():
            with gr.Column(scale=5):
                self.note = compat.html("", elem_id=f"{PREFIX}_note")
                self.gallery = compat.gallery(
                    "Portraits",
                    columns=4,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    elem_id=f"{PREFIX}_gallery",
                )
                with gr.Row():
                    self.look = gr.Button("Look again", size="sm", elem_id=f"{PREFIX}_look")
                    self.pack = gr.Button("Pack all of these", size="sm", elem_id=f"{PREFIX}_pack")
                self.file = gr.File(
                    label="Packed portraits", visible=compat.shown(False), interactive=False, elem_id=f"{PREFIX}_file"
                )
            with gr.Column(scale=4):
                self.one = compat.html("", elem_id=f"{PREFIX}_one")
                self.open, self.show = map(compat.hidden_button, (history_view.OPEN, history_view.SHOW))
                self.fault = compat.html("", elem_id=f"{PREFIX}_fault")
                self.recipe = gr.Textbox(
                    label="Parameters of the selected portrait",
                    placeholder="Select a portrait to see how it was made.",
                    lines=4,
                    max_lines=16,
                    interactive=False,
                    elem_id=f"{PREFIX}_recipe",
                )
        self.names = gr.State([])

    def bind(self, opened: Any) -> None:
        """Connect the events; ``opened`` is the tab that all this stands in."""
        asked = {self.person, self.origin, self.order}
        shown = [self.person, self.gallery, self.note, self.names, self.file]
        for event in (opened.select, self.look.click, *(part.input for part in (self.person, self.origin, self.order))):
            compat.listen(event, self._look, asked, shown)
        compat.listen(self.gallery.select, self._selected, [self.names], [self.one, self.recipe])
        compat.listen(self.gallery.select, lambda: "", None, [self.fault], quiet=True)
        compat.asking(self.open, self._opened, [], [self.fault])
        compat.asking(self.show, self._shown, [], [self.one, self.recipe])
        compat.listen(self.pack.click, self._packed, asked, [self.file, self.note])

    # --- events ------------------------------------------------------------------------------------------------------

    def _look(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        people, everything = self._service.people.list(), self.history.list()
        found = self._found(data, people, everything)
        names = _names(everything, people)
        everybody = say("everybody", language)
        chosen = data[self.person] if data[self.person] in names else everybody
        small = self._service.templates.thumbnails
        shown = found[:SHOWN]
        first = say("history part", language, n=len(shown), all=len(found))
        words = first if len(found) > SHOWN else "" if found else say("history none", language)
        return {
            self.person: compat.update(choices=[everybody, *names], value=chosen),
            self.gallery: compat.update(value=[(str(small.of(m.path)), _caption(m, language)) for m in shown]),
            self.note: panel.hint(words) if words else "",
            self.names: [self.history.name(made.path) for made in shown],
            self.file: compat.update(visible=compat.shown(False)),
        }

    def _found(self, data: Mapping[Any, Any], people: Sequence[Person], everything: Sequence[Made]) -> Sequence[Made]:
        """Return the portraits that the page asks for, in its order."""
        found = [made for made in everything if (made.origin == OVER_API) == (data[self.origin] == ELSEWHERE)]
        who = data[self.person]
        if who in _names(everything, people):  # anything else means everybody
            former = next((person.former for person in people if person.user_id == who), ())
            found = list(of_people(found, (who, *former)))
        if data[self.order] == ALIKE:
            found.sort(key=lambda made: -1.0 if made.likeness is None else made.likeness, reverse=True)
        return found

    def _selected(self, event: gr.SelectData, names: list[str], request: gr.Request) -> tuple[Any, Any]:
        index = compat.selected(event)
        return self._shown(names[index] if 0 <= index < len(names) else "", request)

    def _shown(self, name: str, request: gr.Request) -> tuple[Any, Any]:
        """Return the portrait of this name beside its template, and its recipe."""
        language = self._language(request)
        made = next((one for one in self.history.list() if self.history.name(one.path) == name), None)
        if made is None:
            return panel.error(say("portrait gone", language)), ""
        opens = file_manager.can_open(request)
        shown = history_view.shown(made, name, self._template_of(made), language, opens=opens)
        return shown, panel.recipe(made.path)

    def _opened(self, name: str, request: gr.Request) -> str:
        """Open the folder of the portrait whose name the page sends."""
        language, path = self._language(request), self.history.named(name)
        if path is None:
            return panel.error(say("portrait gone", language))
        try:
            file_manager.open_folder(path.parent, self._service.paths.portraits, request)
        except EasyPhotoError as error:
            return panel.error(translated(error.message, language))
        return ""

    def _template_of(self, made: Made) -> Path | None:
        """Return the template of a portrait, if it is among the presets and galleries."""
        if not made.template:
            return None
        places = sorted((t.path for t in self._service.templates.everything()), key=lambda p: p.name != made.template)
        try:
            return recipe.read(made.path).find_template(places)
        except (EasyPhotoError, OSError):
            return None

    def _packed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        found = self._found(data, self._service.people.list(), self.history.list())
        if not found:
            return {self.note: panel.hint(say("history none", language))}
        file = self._files.new("easyphoto-portraits.zip")
        try:
            _pack(file, ((made.path, self.history.name(made.path)) for made in found))
        except EasyPhotoError as error:
            return {self.note: panel.error(translated(error.message, language))}
        words = say("history packed", language, n=len(found), size=f"{file.stat().st_size / 2**20:.1f} MB")
        return {self.file: compat.update(value=str(file), visible=True), self.note: panel.good(words)}


def _pack(file: Path, members: Iterable[tuple[Path, str]]) -> None:
    """Put portraits into a zip file as they are: a PNG doesn't get smaller. Raises ``StorageFailed``."""
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path, name in members:
                archive.write(path, name)
    except OSError as error:
        raise files.not_written(file, error) from error


def _names(everything: Iterable[Made], people: Sequence[Person]) -> Sequence[str]:
    """Return what those who are shown are called now."""
    now = {former: person.user_id for person in people for former in person.former}
    return sorted({now.get(name, name) for made in everything for name in made.people if name != NOBODY})


def _caption(made: Made, language: str) -> str:
    return "" if made.likeness is None else panel.likeness_caption([made.likeness], language)
