"""Flags made from the declared fields: each field has one flag with its name, its help, its choices and its default."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from easyphoto.cli import arguments
from easyphoto.config import (
    AUTO,
    Config,
    Declared,
    PortraitConfig,
    declared,
    from_mapping,
    number,
    numbered,
    spelt_out,
)


def add(parser: argparse.ArgumentParser, cls: type[Any], *, defaults_vary: bool = False) -> None:
    """Give the parser a flag for each declared field of ``cls``. With ``defaults_vary``, the help names no defaults.

    A user may write a flag with hyphens, or with underscores as the API spells the field. The help shows hyphens.
    """
    fields = list(declared(cls))
    example = next((d.name for d in fields if d.name.count("_") > 2), fields[0].name)
    group = parser.add_argument_group(
        f"{cls.__name__} (every field, by its API name; --{example} is taken for {_flag(example)}, and so on)"
    )
    for d in fields:
        default = "" if defaults_vary or d.default == "" else f" Default: {_shown(d.default)}."
        # A value that only callers of the original know is accepted, but not offered.
        text = f"{d.param.help or d.param.label}{_range(d)}{default}".replace("%", "%%")
        options: dict[str, Any] = {"dest": f"config_{d.name}", "default": None}
        if d.type is bool:
            options |= {"action": argparse.BooleanOptionalAction}
        elif d.param.choices:
            options |= {"choices": d.param.choices}
            if d.param.numbered:
                options |= {"type": partial(_choice, d.param.choices)}
        elif d.type in (int, float):
            kind = arguments.ranged(d.type, d.param.minimum, d.param.maximum)
            options |= {"type": kind, "metavar": "NUMBER" if d.type is float else "INT"}
            if d.param.tried:
                options |= {"type": partial(_or_auto, kind), "metavar": f"NUMBER|{AUTO}"}
        else:
            options |= {"metavar": "TEXT"}
        group.add_argument(_flag(d.name), help=argparse.SUPPRESS if d.param.legacy else text, **options)
        if "_" in d.name:
            group.add_argument(f"--{d.name}", help=argparse.SUPPRESS, **options)


def chosen(args: argparse.Namespace, cls: type[Any] | None = None) -> dict[str, Any]:
    """Return the fields that the user gave, by name; those of ``cls`` where the parser has the flags of several
    classes."""
    prefix = "config_"
    given = {k[len(prefix) :]: v for k, v in vars(args).items() if k.startswith(prefix) and v is not None}
    given = spelt_out(PortraitConfig, given)
    if cls is None:
        return given
    own = {d.name for d in declared(cls)}
    return {name: value for name, value in given.items() if name in own}


def config(cls: type[Config], args: argparse.Namespace) -> Config:
    """Return the configuration with what the user gave in place of the defaults."""
    return from_mapping(cls, chosen(args, cls))


def _or_auto(number_of: Callable[[str], Any], text: str) -> Any:
    return text if text == AUTO else number_of(text)


def _choice(choices: tuple[str, ...], text: str) -> str:
    return numbered(text, choices) or text


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _range(d: Declared) -> str:
    low, high = d.param.minimum, d.param.maximum
    tried = ", ".join(map(number, d.param.tried))
    auto = f" {AUTO}: keep the best of {tried}." if tried else ""
    return auto if low is None or high is None else f" From {number(low)} to {number(high)}.{auto}"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return number(default) if isinstance(default, (int, float)) else str(default)
