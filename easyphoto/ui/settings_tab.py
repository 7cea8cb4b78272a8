"""The Settings tab of the program without a WebUI: what a WebUI has on its settings page, shown and changed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from easyphoto.config import PRECISIONS
from easyphoto.errors import EasyPhotoError
from easyphoto.messages import LANGUAGES, translated
from easyphoto.service.kept_settings import KeptSettings
from easyphoto.service.setting_fields import FIELDS
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.settings import MAX_FACES
from easyphoto.ui.texts import say
from easyphoto.vision import registry

PREFIX = "easyphoto_settings"
BROWSER = "that of the browser"
NAMES = {"en": "English", "zh": "中文"}
"""What languages are called by those who speak them."""


class SettingsTab:
    """The components of the Settings tab and their events. ``language`` returns the language of a request."""

    def __init__(self, kept: KeptSettings, language: Callable[[Any], str]) -> None:
        self._kept = kept
        self._language = language

    def build(self) -> None:
        """Make the components, inside the current tab."""
        gr.Markdown(
            "Options of `serve` and environment variables go before what is chosen here.",
            elem_classes=["easyphoto-hint"],
        )
        values = self._kept.values()
        self.components = {key: self._component(key, value) for key, value in values.items()}
        self.save = gr.Button("Save the settings", variant="primary", elem_id=f"{PREFIX}_save")
        self.note = compat.html("", elem_id=f"{PREFIX}_note")

    def bind(self) -> None:
        """Connect the events."""
        compat.listen(self.save.click, self._saved, set(self.components.values()), [self.note])

    @property
    def loads(self) -> list[Any]:
        """The components that :meth:`loaded` may change."""
        return list(self.components.values())

    def loaded(self) -> Updates:
        """Return what a page shows when it is opened: the settings as they are now."""
        values = self._kept.values()
        return {component: self._on_page(key, values[key]) for key, component in self.components.items()}

    def _component(self, key: str, value: Any) -> Any:
        field = FIELDS[key]
        common: dict[str, Any] = {"label": field.label, "info": field.alone, "elem_id": f"{PREFIX}_{key}"}
        common["value"] = self._on_page(key, value)
        if key == "faces":
            return gr.Slider(1, MAX_FACES, step=1, **common)
        if key == "language":
            return gr.Radio(choices=[(BROWSER, BROWSER), *((NAMES.get(one, one), one) for one in LANGUAGES)], **common)
        if key == "backends":
            every = [f"{role}={backend.name}" for role, known in registry.BY_ROLE.items() for backend in known]
            return gr.Dropdown(choices=every, multiselect=True, allow_custom_value=True, **common)
        if key == "precision":
            return gr.Radio(choices=list(PRECISIONS), **common)
        return gr.Checkbox(**common) if isinstance(value, bool) else gr.Textbox(**common)

    def _on_page(self, key: str, value: Any) -> Any:
        if key == "backends":
            return [pair.strip() for pair in value.split(",") if pair.strip()]
        return value or BROWSER if key == "language" else value

    def _saved(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        values = {key: data[component] for key, component in self.components.items()}
        if values["language"] == BROWSER:
            values["language"] = ""
        if isinstance(values["backends"], list):
            values["backends"] = ", ".join(values["backends"])
        try:
            later = self._kept.change(values)
        except EasyPhotoError as error:
            return {self.note: panel.error(translated(error.message, self._language(request)))}
        language = self._language(request)
        words = [say("settings saved", language)]
        if later:
            labels = ", ".join(translated(FIELDS[key].label, language) for key in later)
            words.append(say("settings later", language, names=labels))
        return {self.note: panel.good(" ".join(words))}
