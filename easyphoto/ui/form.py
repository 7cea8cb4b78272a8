"""Components made from declared fields, and values read back from those components, by the name of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from easyphoto.config import Declared, declared
from easyphoto.messages import LANGUAGES
from easyphoto.ui import compat

SLIDER_STEPS = 2100
"""A range with more steps than this gets a number field, because nobody could hit its values with a slider."""
FEW = 3
"""Up to this many choices are shown all at once; more of them become a dropdown."""
LONG_TEXTS = ("additional_prompt", "additional_neg_prompt", "text_to_image_input_prompt", "training_prefix_prompt")

Choices = Callable[[str], Sequence[str | tuple[str, str]]]
"""A function from a language to what can be picked: values, or pairs of a name on the page and its value."""


class Form:
    """The components of one configuration. ``choices`` has the lists for those text fields that are picked rather than
    typed."""

    def __init__(self, config: type, prefix: str, values: Mapping[str, Any], choices: Mapping[str, Choices]) -> None:
        self._fields = {d.name: d for d in declared(config)}
        self._prefix = prefix
        self._values = values
        self._choices = choices
        self.components: dict[str, Any] = {}

    def names(self, group: str) -> list[str]:
        """Return the names of the fields of a group that users are offered, in the order of their declaration."""
        return [d.name for d in self._fields.values() if d.param.group == group and not d.param.legacy]

    def add(self, *names: str) -> None:
        """Make the components of these fields here. A long text gets a row of its own; the others stand two in a
        row."""
        row: list[str] = []
        for name in names:
            if name in LONG_TEXTS:
                self._add_row(row)
                self._add_row([name])
                row = []
            elif len(row) == 1:
                self._add_row([*row, name])
                row = []
            else:
                row = [name]
        self._add_row(row)

    def _add_row(self, names: list[str]) -> None:
        if not names:
            return
        with gr.Row():
            for name in names:
                self.components[name] = self._component(self._fields[name])

    def values(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the values of the fields by name, from gradio's ``{component: value}``."""
        found = {}
        for name, component in self.components.items():
            d, value = self._fields[name], self.meant(name, data[component])
            if d.type in (int, float):
                value = compat.number(value, d.param.label, whole=d.type is int)
            elif d.type is str:
                value = value or ""
            found[name] = d.type(value)
        return found

    def meant(self, name: str, value: Any) -> Any:
        """Return the value that is meant where a list shows values by names: version 3 of gradio gives the name."""
        if name not in self._choices or not isinstance(value, str):
            return value
        for language in LANGUAGES:
            pairs = [pair for pair in self._choices[name](language) if not isinstance(pair, str)]
            if any(value == pair[1] for pair in pairs):
                return value
            if found := [pair[1] for pair in pairs if value == pair[0]]:
                return found[0]
        return value

    def chosen(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of the fields whose values the user has changed. A value that is set to what the form showed
        first can't be told from one that nobody touched."""
        return frozenset(n for n, value in values.items() if value != self._shown_first(self._fields[n]))

    def _shown_first(self, d: Declared) -> Any:
        return self._values.get(d.name, d.default)

    @property
    def picked(self) -> list[Any]:
        """Return the components whose value is picked from a list."""
        return [self.components[name] for name in self._choices if name in self.components]

    def updates(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        """Return gradio's ``{component: update}`` that makes the form show these values."""
        return {c: compat.update(value=values[n]) for n, c in self.components.items() if n in values}

    def fresh_choices(self, language: str) -> dict[Any, Any]:
        """Return gradio's ``{component: update}`` with fresh lists for the components in :attr:`picked`."""
        return {
            self.components[name]: compat.update(choices=compat.choices(choices(language)))
            for name, choices in self._choices.items()
            if name in self.components
        }

    def _component(self, d: Declared) -> Any:
        p = d.param
        common: dict[str, Any] = {
            "value": self._shown_first(d),
            "label": p.label,
            "info": p.help or None,
            "elem_id": f"{self._prefix}_{d.name}",
        }
        if d.name in self._choices:
            return gr.Dropdown(choices=compat.choices(self._choices[d.name]("en")), allow_custom_value=True, **common)
        if d.type is bool:
            return gr.Checkbox(**common)
        if p.choices:
            kind = gr.Radio if len(p.choices) <= FEW else gr.Dropdown
            return kind(choices=list(p.choices), **common)
        if d.type is str:
            return gr.Textbox(lines=2 if d.name in LONG_TEXTS else 1, **common)
        return self._number(d, common)

    def _number(self, d: Declared, common: dict[str, Any]) -> Any:
        p = d.param
        low, high, step = p.minimum, p.maximum, p.step
        if low is not None and high is not None and step and (high - low) / step <= SLIDER_STEPS:
            cast = int if d.type is int else float
            return gr.Slider(minimum=cast(low), maximum=cast(high), step=cast(step), **common)
        return gr.Number(precision=0 if d.type is int else None, **common)
