"""Flags from the declared fields: one flag a field, by its name, with its help, choices and default."""

from __future__ import annotations

import argparse
from typing import Any

from easyphoto.config import Config, Declared, declared, from_mapping


def add(parser: argparse.ArgumentParser, cls: type[Any], *, defaults_vary: bool = False) -> None:
    """Give the parser a flag for every declared field of ``cls``. With ``defaults_vary``, help names no defaults."""
    group = parser.add_argument_group(f"{cls.__name__} (every field, by its API name)")
    for d in declared(cls):
        # What only the original's callers know is taken, but not offered.
        default = "" if defaults_vary or d.default == "" else f" Default: {_shown(d.default)}."
        text = f"{d.param.help or d.param.label}{_range(d)}{default}".replace("%", "%%")
        flag = f"--{d.name}"
        shown = argparse.SUPPRESS if d.param.legacy else text
        options: dict[str, Any] = {"dest": f"config_{d.name}", "default": None, "help": shown}
        if d.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        elif d.param.choices:
            group.add_argument(flag, choices=d.param.choices, **options)
        else:
            group.add_argument(flag, type=d.type, metavar=d.type.__name__.upper(), **options)


def chosen(args: argparse.Namespace) -> dict[str, Any]:
    """The fields that the user gave, by name."""
    prefix = "config_"
    return {k[len(prefix) :]: v for k, v in vars(args).items() if k.startswith(prefix) and v is not None}


def config(cls: type[Config], args: argparse.Namespace) -> Config:
    """The configuration of the flags over the defaults."""
    return from_mapping(cls, chosen(args))


def _range(d: Declared) -> str:
    low, high = d.param.minimum, d.param.maximum
    return "" if low is None or high is None else f" From {low:g} to {high:g}."


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default)
