"""Which of the templates the gallery of the Inference tab shows: of one gallery, with a number of faces, by words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.service import EasyPhoto
from easyphoto.templates import Template
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.texts import say

PREFIX = "easyphoto_templates"
ALL, PRESETS, YOURS = "All", "Presets", "Yours"
"""Names of galleries that are no folders. A folder of such a name is shown among all."""
ANY, MANY = "any", "4 and more"
FACES = (ANY, "1", "2", "3", MANY)
SHOWN = 80
"""At most so many templates are shown at the same time."""
PATIENCE = 6.0
"""For how many seconds faces are counted before the page gets its answer."""


class TemplateFilter:
    """The components that choose what is shown. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    def build(self) -> None:
        """Make the components here."""
        with gr.Row(elem_classes=["easyphoto-filter"]):
            self.gallery = gr.Radio(
                choices=self._galleries(), value=ALL, label="Gallery", elem_id=f"{PREFIX}_gallery", min_width=220
            )
            self.faces = gr.Radio(
                choices=list(FACES), value=ANY, label="Faces in the picture", elem_id=f"{PREFIX}_faces", min_width=220
            )
            self.words = gr.Textbox(
                label="Search",
                placeholder="woman, studio, hat ...",
                max_lines=1,
                elem_id=f"{PREFIX}_words",
                min_width=160,
            )

    def bind(self, shown: Callable[[Mapping[Any, Any], str], Updates], outputs: list[Any], also: set[Any]) -> None:
        """Connect the events: ``shown(data, language)`` returns updates of ``outputs``, of what the components here and
        those of ``also`` hold."""
        self._show = shown
        compat.listen(self.gallery.change, self._changed, self.inputs | also, outputs, quiet=True)
        compat.listen(self.words.change, self._changed, self.inputs | also, outputs, quiet=True)
        compat.listen(self.faces.change, self._counted, self.inputs | also, outputs)

    @property
    def inputs(self) -> set[Any]:
        """The components that :meth:`found` reads."""
        return {self.gallery, self.faces, self.words}

    def fresh(self, name: str | None = None) -> Any:
        """Return an update that lists the galleries as they are now, and opens the one of that name."""
        galleries = self._galleries()
        return compat.update(choices=galleries, **({"value": name} if name in galleries else {}))

    def found(self, gallery: str | None = ALL, faces: str | None = ANY, words: str | None = "") -> list[Template]:
        """Return the templates that are shown, in their order."""
        return [t for t in self._named(gallery, words) if _fits(t, faces)][:SHOWN]

    def found_in(self, data: Mapping[Any, Any]) -> list[Template]:
        """Return the same for what the components hold."""
        return self.found(data[self.gallery], data[self.faces], data[self.words])

    def note(self, data: Mapping[Any, Any], language: str) -> str:
        """Return what the user should know of what is shown: that there are more, or that some were not counted."""
        named = self._named(data[self.gallery], data[self.words])
        fitting = [t for t in named if _fits(t, data[self.faces])]
        uncounted = 0 if data[self.faces] in (None, ANY) else sum(t.faces is None for t in named)
        notes = []
        if not fitting:
            notes.append(say("no template found", language))
        if len(fitting) > SHOWN:
            notes.append(say("first templates", language, n=SHOWN, all=len(fitting)))
        if uncounted:
            notes.append(say("uncounted templates", language, n=uncounted))
        return panel.hint(" ".join(notes)) if notes else ""

    def _galleries(self) -> list[str]:
        named = [folder.name for folder in self._service.templates.folders.list()]
        return [ALL, PRESETS, YOURS, *(name for name in named if name not in (ALL, PRESETS, YOURS))]

    def _named(self, gallery: str | None, words: str | None) -> Sequence[Template]:
        store, text = self._service.templates, words or ""
        if gallery in (PRESETS, YOURS):
            return [t for t in store.search(text, gallery="") if t.own == (gallery == YOURS)]
        try:
            return store.search(text, gallery=None if gallery in (None, ALL) else gallery)
        except EasyPhotoError:  # somebody has removed it meanwhile
            return []

    def _changed(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        return self._show(data, self._language(request))

    def _counted(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Count the faces of those that nobody has counted, as many as there is patience for."""
        if data[self.faces] not in (None, ANY):
            self._service.count_faces(self._named(data[self.gallery], data[self.words]), PATIENCE)
        return self._show(data, self._language(request))


def _fits(template: Template, faces: str | None) -> bool:
    if faces in (None, ANY):
        return True
    if faces == MANY:
        return (template.faces or 0) >= 4
    return template.faces == int(faces)


def by_title(templates: Iterable[Template]) -> dict[str, Template]:
    """Return templates by their titles on the page. One whose title another has is called by its name."""
    found: dict[str, Template] = {}
    for template in templates:
        found[template.title if template.title not in found else template.name] = template
    return found
