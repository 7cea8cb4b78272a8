"""A text that remembers its template and values.

A :class:`Message` is a ``str``: its English wording, which logs, terminals and programs take as it is. Beside that it
keeps the template and the values that made it, so that an edge can say it in another language without reading English
back. It survives a trip through JSON as the data of :func:`to_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, TypeAlias

Value: TypeAlias = "str | int | float | bool | None"


class Message(str):
    """English text made from a ``template`` of :meth:`str.format` with named places, and the ``values`` put in.

    A value that is a message itself stays one, and so does the message of an exception that has one; numbers stay
    numbers, for the format of their place; everything else becomes its text. Without values the template is the text,
    whatever braces stand in it.
    """

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str = "", /, **values: object) -> Message:
        kept = {name: plain(value) for name, value in values.items()}
        made = super().__new__(cls, template.format_map(kept) if kept else template)
        made.template = str(template)
        made.values = MappingProxyType(kept)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles keep the template and the values."""
        return _remade, (self.template, dict(self.values))


class Joined(Message):
    """Several texts behind one another: ``template`` is what stands between them, ``parts`` are the texts."""

    parts: tuple[str, ...]

    def __new__(cls, joint: str, parts: Iterable[str]) -> Joined:
        kept = tuple(parts)
        made = str.__new__(cls, joint.join(kept))
        made.template = joint
        made.values = MappingProxyType({})
        made.parts = kept
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Joined, (self.template, self.parts)


def joined(parts: Iterable[str], joint: str = ", ") -> Message:
    """The texts as one, with ``joint`` between them."""
    return Joined(joint, parts)


def plain(value: object) -> Value:
    """A value as a message keeps it: a message, a number, a text."""
    if isinstance(value, BaseException):
        value = getattr(value, "message", None) or str(value)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PathLike):
        return str(fspath(value))
    item = getattr(value, "item", None)  # a number of numpy's
    return plain(item()) if callable(item) else str(value)


def to_data(message: Message) -> dict[str, Any]:
    """The message as plain JSON data."""
    if isinstance(message, Joined):
        return {"joint": message.template, "parts": [_value_data(part) for part in message.parts]}
    return {
        "template": message.template,
        "values": {name: _value_data(value) for name, value in message.values.items()},
    }


def from_data(data: Mapping[str, Any]) -> Message:
    """The message of :func:`to_data`. Raises ValueError when the data is none."""
    try:
        if "joint" in data:
            return Joined(str(data["joint"]), [_text(_value(part)) for part in data["parts"]])
        return Message(str(data["template"]), **{str(name): _value(value) for name, value in data["values"].items()})
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a message: {str(data)[:80]}") from error


def _remade(template: str, values: Mapping[str, Value]) -> Message:
    return Message(template, **values)


def _value_data(value: Value) -> Any:
    return to_data(value) if isinstance(value, Message) else value


def _value(data: Any) -> Any:
    return from_data(data) if isinstance(data, Mapping) else data


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
