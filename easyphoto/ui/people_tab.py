"""The People tab: who is there, and what can be done with each of them: portraits, going on with a training, export,
import, another name, deletion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, model_names, panel, people_view
from easyphoto.ui.compat import Updates
from easyphoto.ui.people_desk import asked_words, deleted_words
from easyphoto.ui.people_view import PREFIX
from easyphoto.ui.shared_files import SharedFiles
from easyphoto.ui.texts import say

ENDING = ".easyphoto.zip"


class PeopleTab:
    """The components of the People tab and their events. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language
        self._files = SharedFiles()

    # --- layout ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the components, inside the current tab."""
        with gr.Row():
            self.bring = gr.UploadButton(
                "Import a person", size="sm", file_count="multiple", file_types=[".zip"], elem_id=f"{PREFIX}_bring"
            )
            self.look = gr.Button("Look again", size="sm", elem_id=f"{PREFIX}_look")
        self.note = compat.html("", elem_id=f"{PREFIX}_note")
        with gr.Row(visible=compat.shown(False), elem_id=f"{PREFIX}_renaming") as self.renaming:
            self.name = gr.Textbox(label="New user id", max_lines=1, elem_id=f"{PREFIX}_name")
            self.rename = gr.Button("Rename", variant="primary", elem_id=f"{PREFIX}_renamed")
        with gr.Row(visible=compat.shown(False), elem_id=f"{PREFIX}_deleting") as self.deleting:
            self.portraits = gr.Checkbox(
                value=False,
                label="Their portraits too",
                info="Every portrait that shows them, alone or with others",
                elem_id=f"{PREFIX}_portraits",
            )
            self.sure = gr.Button("Yes, delete", variant="stop", elem_id=f"{PREFIX}_sure")
        self.file = gr.File(label="Exported", visible=compat.shown(False), interactive=False, elem_id=f"{PREFIX}_file")
        self.list = compat.html("", elem_id=f"{PREFIX}_list")
        self.chosen = gr.State("")
        self.asked = {what: compat.hidden_button(f"{PREFIX}_{what}") for what in ("rename", "export", "delete")}

    def bind(self, opened: Any, page: Any, others: Sequence[Any], gone: Callable[[str, str, str], Updates]) -> None:
        """Connect the events; ``opened`` is the tab that all this stands in. After people have come, gone or got
        another name, ``gone(user id, page, language)`` returns updates for ``others``."""
        self._page, self._gone = page, gone
        parts = [self.list, self.note, self.renaming, self.deleting, self.file, self.chosen, self.name]
        for event in (opened.select, self.look.click):
            compat.listen(event, self._look, None, parts)
        compat.asking(self.asked["rename"], self._ask_name, [], parts)
        compat.asking(self.asked["delete"], self._ask_sure, [], parts)
        compat.asking(self.asked["export"], self._export, [], parts)
        have = {self.chosen, self.name, self.portraits, page}
        compat.listen(self.rename.click, self._rename, have, [*parts, *others])
        compat.listen(self.sure.click, self._delete, have, [*parts, *others])
        compat.listen(self.bring.upload, self._bring, {self.bring, page}, [*parts, *others])

    # --- what is shown -----------------------------------------------------------------------------------------------

    def _shown(self, language: str, note: str = "") -> Updates:
        """Return everybody as they are now, with nothing being asked."""
        people, known = self._service.people.list(), self._service.host.checkpoints()
        trained = {p.user_id: str((p.marks or {}).get("base_model") or "") for p in people}
        called = {c.name: model_names.called(c, language) for c in known}
        models = {user_id: called.get(name, name) for user_id, name in trained.items()}
        return {
            self.list: people_view.cards(people, self._service.people.stopped(), models, language),
            self.note: note,
            self.renaming: compat.update(visible=compat.shown(False)),
            self.deleting: compat.update(visible=compat.shown(False)),
            self.file: compat.update(visible=compat.shown(False)),
            self.chosen: "",
        }

    def _look(self, request: gr.Request) -> Updates:
        return self._shown(self._language(request))

    def _changed(self, user_id: str, data: Mapping[Any, Any], language: str, note: str) -> Updates:
        return {**self._gone(user_id, data[self._page], language), **self._shown(language, panel.good(note))}

    def _refused(self, error: EasyPhotoError, language: str) -> Updates:
        return {self.note: panel.error(translated(error.message, language))}

    # --- events ------------------------------------------------------------------------------------------------------

    def _ask_name(self, name: str, request: gr.Request) -> Updates:
        language = self._language(request)
        asked = self._shown(language, panel.hint(say("rename whom", language, name=name)))
        return {**asked, self.renaming: compat.update(visible=True), self.name: name, self.chosen: name}

    def _ask_sure(self, name: str, request: gr.Request) -> Updates:
        language = self._language(request)
        words = asked_words(name, len(self._service.portraits_of(name)), language)
        asked = self._shown(language, panel.doubtful(words))
        return {**asked, self.deleting: compat.update(visible=True), self.chosen: name}

    def _export(self, name: str, request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            file = self._files.new(f"{name}{ENDING}")
            self._service.people.export(name, file)
        except EasyPhotoError as error:
            return self._refused(error, language)
        note = panel.good(say("exported", language, name=name, size=f"{file.stat().st_size / 2**20:.1f} MB"))
        return {**self._shown(language, note), self.file: compat.update(value=str(file), visible=True)}

    def _rename(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            person = self._service.rename_person(data[self.chosen] or "", data[self.name] or "")
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._changed(person.user_id, data, language, say("renamed", language, name=person.user_id))

    def _delete(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, name = self._language(request), data[self.chosen] or ""
        try:
            removed = self._service.delete_person(name, portraits=bool(data[self.portraits]))
        except EasyPhotoError as error:
            return self._refused(error, language)
        return self._changed(name, data, language, deleted_words(removed, language))

    def _bring(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, came = self._language(request), []
        faults = []
        for file in compat.files(data[self.bring]):
            try:
                came.append(self._service.people.bring(Path(file)).user_id)
            except EasyPhotoError as error:
                faults.append(panel.error(translated(error.message, language)))
        self._service.host.refresh_loras()
        good = panel.good(say("imported", language, names=", ".join(came))) if came else ""
        others = self._gone("", data[self._page], language)
        return {**others, **self._shown(language, good + "".join(faults))}
