"""The part of the Inference tab where a folder of pictures becomes a gallery of templates, or is let go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.template_filter import ALL, PREFIX, PRESETS, YOURS
from easyphoto.ui.texts import say


class GalleryDesk:
    """The components of this part and their events. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    def build(self) -> None:
        """Make the components here."""
        with compat.accordion("Galleries of your own"):
            gr.Markdown(
                "Upload a folder of pictures, and it becomes a gallery. To use a folder on the server where it lies, "
                "run there: `easyphoto templates link FOLDER`."
            )
            with gr.Row():
                self.name = gr.Textbox(
                    label="Name of the gallery", placeholder="e.g. Holidays", elem_id=f"{PREFIX}_name", max_lines=1
                )
                self.upload = gr.UploadButton(
                    "Upload a folder", size="sm", file_count="directory", elem_id=f"{PREFIX}_upload"
                )
                self.remove = gr.Button("Remove the gallery that is open", size="sm", elem_id=f"{PREFIX}_remove")
            self.note = compat.html("", elem_id=f"{PREFIX}_note")

    def bind(self, gallery: Any, changed: Callable[[str, str], Updates], others: list[Any]) -> None:
        """Connect the events. ``gallery`` holds the name of the gallery that is open. After a change,
        ``changed(name, language)`` returns updates of ``others`` that open the gallery of that name."""
        self._gallery, self._changed = gallery, changed
        compat.listen(self.upload.upload, self._uploaded, {self.upload, self.name}, [self.note, self.name, *others])
        compat.listen(self.remove.click, self._removed, {gallery}, [self.note, *others])

    def _uploaded(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            made = self._service.templates.folders.keep(data[self.name] or "", compat.files(data[self.upload]))
        except EasyPhotoError as error:
            return {self.note: panel.error(translated(error.message, language))}
        words = say("gallery added", language, name=made.name, n=len(made.templates()))
        return {self.note: panel.good(words), self.name: "", **self._changed(made.name, language)}

    def _removed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, name = self._language(request), data[self._gallery]
        if name in (None, ALL, PRESETS, YOURS):
            return {self.note: panel.error(say("no gallery open", language))}
        try:
            gone = self._service.templates.remove_gallery(name)
        except EasyPhotoError as error:
            return {self.note: panel.error(translated(error.message, language))}
        words = say("gallery forgotten" if gone.linked else "gallery deleted", language, name=name)
        return {self.note: panel.good(words), **self._changed(ALL, language)}
