"""How the command line is read: options may stand anywhere, with hyphens or underscores, as whole words, and a mistake
is answered with one sentence."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from easyphoto import program
from easyphoto.config import number
from easyphoto.disk import nearest
from easyphoto.errors import InvalidRequest
from easyphoto.imaging import folder

T = TypeVar("T", int, float)

LONGEST = 60
"""An error repeats at most this many characters of a wrong value."""


class Usage(InvalidRequest):
    """The command line itself is wrong, so no command was begun."""


class Parser(argparse.ArgumentParser):
    """An argument parser that takes options before, between and after positional arguments.

    Options can't be abbreviated, because otherwise a new option could change the meaning of a script. A mistake raises
    :class:`Usage` with one sentence.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self._mixing = False

    def parse_known_args(  # type: ignore[override]  # the stub's overloads say the same
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        # A parser with commands passes everything after a command on to that command's parser, in the same order.
        if self._mixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            known, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False
        if unknown:
            raise Usage(self._unknown(unknown[0]))
        return known, unknown

    def error(self, message: str) -> NoReturn:
        raise Usage(_sentence(message, self.prog))

    def _unknown(self, given: str) -> str:
        names = [name for action in self._actions if action.help != argparse.SUPPRESS for name in action.option_strings]
        close = difflib.get_close_matches(given.split("=", maxsplit=1)[0], names, 1) if given.startswith("-") else []
        guess = f"did you mean {close[0]}?" if close else f"see {self.prog} --help."
        what = "no option" if given.startswith("-") else "no room for"
        return f"There is {what} {shortened(given)} here: {guess}"


def hyphens(argv: Sequence[str]) -> list[str]:
    """Return the arguments with each option spelt with hyphens: ``--max_train_steps=9`` becomes
    ``--max-train-steps=9``.

    Values, and everything after ``--``, stay as they are.
    """
    end = argv.index("--") if "--" in argv else len(argv)

    def spelt(argument: str) -> str:
        if not re.match(r"--[a-z]", argument):
            return argument
        name, equals, value = argument.partition("=")
        return name.replace("_", "-") + equals + value

    return [*map(spelt, argv[:end]), *argv[end:]]


def common(parser: argparse.ArgumentParser, *, first: bool = False) -> None:
    """Give a parser the options that every command has. The ``first`` parser is the program's own and holds their
    defaults."""
    default: Callable[[Any], Any] = (lambda value: value) if first else (lambda _: argparse.SUPPRESS)
    parser.add_argument(
        "--data",
        type=a_folder,
        # argparse checks a default that is a text as if the user had typed it
        default=default(os.environ.get(program.DATA, "").strip() or None),
        metavar="FOLDER",
        help=f"where people, portraits and models lie (or {program.DATA}; default: {_home()})",
    )
    parser.add_argument(
        "--json", action="store_true", default=default(False), help="print JSON alone, one value a line, errors too"
    )
    parser.add_argument("--verbose", action="store_true", default=default(False), help="log what happens inside")


def _home() -> str:
    return "EasyPhoto in your home folder" if program.INSTALLED else "the program's own folder"


def a_folder(text: str) -> Path:
    """Read the value of an option that names a folder, which may not exist yet."""
    path = a_path(text)
    there = nearest(path)
    if there is None:
        raise argparse.ArgumentTypeError(f"wants a folder, and the drive of {shortened(text)} isn't there")
    if not there.is_dir():
        file = path if path.exists() else there
        raise argparse.ArgumentTypeError(f"wants a folder, and {shortened(str(file))} is a file")
    return path


def a_path(text: str) -> Path:
    """Read the value of an option that names a file or a folder: any text that isn't empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a file or a folder")
    if "\0" in text:
        raise argparse.ArgumentTypeError("holds a character that no file name has")
    return Path(text)


def ranged(kind: type[T], low: float | None, high: float | None) -> Callable[[str], T]:
    """Return the type of an option that takes a number from ``low`` to ``high``, both included."""
    return partial(_ranged, kind, low, high)


def _ranged(kind: type[T], low: float | None, high: float | None, text: str) -> T:
    what = "a whole number" if kind is int else "a number"
    span = "" if low is None or high is None else f" from {number(low)} to {number(high)}"
    problem = argparse.ArgumentTypeError(f"must be {what}{span}, not {shortened(text)!r}")
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        raise problem from None
    if not (low is None or value >= low) or not (high is None or value <= high) or math.isnan(value):
        raise problem
    return value


def shortened(text: str) -> str:
    """Return a value as an error repeats it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _sentence(message: str, program: str) -> str:
    """Return argparse's words for a mistake as a sentence of ours."""
    if match := re.fullmatch(r"argument ([^:]+): (.*)", message, re.DOTALL):
        name, rest = match[1].split("/")[0], match[2]
        if choice := re.match(r"invalid choice: (.*?) \(choose from (.*)\)$", rest, re.DOTALL):
            given = shortened(choice[1].strip("'"))
            return f"{name} must be one of {choice[2].replace(chr(39), '')}, not {given!r}."
        if rest.startswith("expected"):
            return f"{name} wants a value after it (one that begins with a hyphen as {name}=VALUE)."
        return f"{name} {rest}."
    if match := re.fullmatch(r"the following arguments are required: (.*)", message):
        return f"{match[1]} is missing: see {program} --help."
    return f"{message[:1].upper()}{message[1:].rstrip('.')}: see {program} --help."


def pictures_in(given: list[Path]) -> tuple[Path, ...]:
    """Return the files, with the pictures of a folder in its place, in the order of their names. Says which files of a
    folder can't be read."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            try:
                listing = folder.listing(path)
            except OSError as error:
                raise InvalidRequest(f"The folder {path} can't be read: {error.strerror or error}.") from error
            if listing.notice:
                sys.stderr.write(f"{listing.notice}\n")
            if not listing.pictures:
                raise InvalidRequest(f"There are no pictures in the folder {path}. {listing.notice}".rstrip())
            found += listing.pictures
        else:
            found.append(path)
    return tuple(found)
