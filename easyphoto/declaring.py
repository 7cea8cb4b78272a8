"""How a parameter is declared: as a field of a dataclass that says all that the edges need to know of it.

:mod:`easyphoto.config` declares the parameters of the program in this way. A declared value is checked against its
declaration.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any

from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message

AUTO = "auto"
"""What the edges take in the place of a number that may be left to a search."""

_NAMES = {
    int: Message("a whole number"),
    float: Message("a number"),
    bool: Message("true or false"),
    str: Message("a text"),
}


@dataclass(frozen=True)
class Param:
    """What the edges need to know of a field, beside its name, type and default."""

    label: str
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    tried: tuple[float, ...] = ()
    """Of a number that may be left to a search: the values that are tried, in this order. The text :data:`AUTO` in the
    number's place asks for it, and so does the field :func:`auto_name`, which is declared beside the number."""
    numbered: bool = False
    """A choice after the first may also be given as its number in the list, from 1."""
    legacy_default: Any = None
    """The default of the original's HTTP API where it differs from that of its UI."""
    group: str = "basic"
    legacy: bool = False
    """True for a parameter that is known only for the sake of those who call the original's API: no tab, help or table
    offers it."""


@dataclass(frozen=True)
class Declared:
    """One declared field, from which a UI, an API or a command line is made."""

    name: str
    type: type
    optional: bool
    default: Any
    param: Param


def param(default: Any, label: str, **more: Any) -> Any:
    """Return a dataclass field that carries its :class:`Param`."""
    metadata = {"param": Param(label, **more)}
    return field(default=default, metadata=metadata)


def declared(cls: type[Any]) -> Iterator[Declared]:
    """Iterate over the declared fields of a configuration, in order."""
    return iter(_declared(typing.cast(Hashable, cls)))


@cache
def _declared(cls: Any) -> tuple[Declared, ...]:
    """Return the declared fields. They are looked up once for each class, because a table of thousands of rows asks
    thousands of times."""
    hints = typing.get_type_hints(cls)
    kinds = {f.name: _plain_type(hints[f.name]) for f in fields(cls)}
    return tuple(Declared(f.name, *kinds[f.name], _default(f), f.metadata["param"]) for f in fields(cls))


def unlike_defaults(config: Any) -> frozenset[str]:
    """Return the names of the fields that aren't at their defaults. Those count as chosen where nobody says what the
    user chose."""
    return frozenset(d.name for d in declared(type(config)) if getattr(config, d.name) != d.default)


def auto_name(name: str) -> str:
    """Return the name of the field that leaves the number ``name`` to a search."""
    return f"{name}_{AUTO}"


def spelt_out(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return names and values in which no number of ``cls`` is the text :data:`AUTO`: the field beside the number says
    it instead."""
    found = dict(values)
    for d in declared(cls):
        if d.param.tried and found.get(d.name) == AUTO:
            del found[d.name]
            found[auto_name(d.name)] = True
    return found


def validate(config: Any) -> None:
    """Raise :class:`InvalidRequest` with one sentence for the first value of a wrong type or outside its range."""
    for d in declared(type(config)):
        given = getattr(config, d.name)
        if given is d.default:  # most are, and a table has thousands of rows
            continue
        value = checked(d, given)
        if value is not given:
            object.__setattr__(config, d.name, value)


def checked(d: Declared, value: Any) -> Any:
    """Return ``value`` as the field ``d`` takes it: a whole number becomes a float where the field is one, and the
    number of a choice becomes the choice's name. Raises :class:`InvalidRequest` with one sentence for a wrong type or a
    value outside the range."""
    if d.type is float and type(value) is int:
        value = _as_float(value)
    if d.param.numbered and (named := numbered(value, d.param.choices)) is not None:
        value = named
    if type(value) is not d.type:
        raise InvalidRequest("{name} must be {kind}, not {value!r}.", name=d.name, kind=_NAMES[d.type], value=value)
    low, high = d.param.minimum, d.param.maximum
    below = low is not None and isinstance(value, (int, float)) and not value >= low
    above = high is not None and isinstance(value, (int, float)) and not value <= high
    if below or above:
        raise InvalidRequest(
            "{name} must be from {low} to {high}, not {value!r}.",
            name=d.name,
            low=_number(low),
            high=_number(high),
            value=value,
        )
    if d.param.choices and value not in d.param.choices:
        raise InvalidRequest(
            "{name} must be one of {choices}, not {value!r}.",
            name=d.name,
            choices=", ".join(d.param.choices),
            value=value,
        )
    return value


def _as_float(value: int) -> float:
    """Return a whole number as a float; one that is too large for that becomes infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def numbered(value: object, choices: tuple[str, ...]) -> str | None:
    """Return the choice that a number, or a text of one, means; None where it means none."""
    text = str(value) if type(value) in (int, str) else ""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    return choices[number] if 0 < number < len(choices) else None


def number(value: float) -> str:
    """Return a limit as people write it: a whole one with all its digits."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _number(value: float | None) -> str:
    return "any" if value is None else number(value)


def _plain_type(hint: Any) -> tuple[type, bool]:
    arguments = [a for a in typing.get_args(hint) if a is not type(None)]
    return (arguments[0], True) if arguments else (hint, False)


def _default(f: Field[Any]) -> Any:
    return None if f.default is MISSING else f.default
