"""A text that remembers its template and its values.

A :class:`Message` is a ``str``, the English text, which logs, terminals and programs use as it is. It also keeps the
template and the values from which it was made, so that an edge of the program can say it in another language without
parsing English. :func:`to_data` turns it into JSON and :func:`from_data` back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, TypeAlias

Value: TypeAlias = "str | int | float | bool | None"


class Message(str):
    """An English text, made from a ``template`` of :meth:`str.format` with named places and the ``values`` put into
    them.

    A value that is a message stays one, and so does the message of an exception that has one. A number stays a number,
    so that its place can format it. Any other value becomes its text. If there are no values, the template is the text,
    whatever braces it contains.
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
    """Several texts one after another. ``parts`` are the texts, and ``template`` is what stands between them."""

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
    """Return the texts as one, with ``joint`` between them."""
    return Joined(joint, parts)


def plain(value: object) -> Value:
    """Return a value in the form in which a message keeps it: a message, a number or a text."""
    if isinstance(value, BaseException):
        value = getattr(value, "message", None) or str(value)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PathLike):
        return str(fspath(value))
    item = getattr(value, "item", None)  # a numpy number becomes Python's
    return plain(item()) if callable(item) else str(value)


def to_data(message: Message) -> dict[str, Any]:
    """Return the message as plain JSON data."""
    if isinstance(message, Joined):
        return {"joint": message.template, "parts": [_value_data(part) for part in message.parts]}
    return {
        "template": message.template,
        "values": {name: _value_data(value) for name, value in message.values.items()},
    }


def from_data(data: Mapping[str, Any]) -> Message:
    """Return the message that :func:`to_data` turned into ``data``. Raises ValueError if ``data`` has another form."""
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
