"""How models are called: which names are listed, and which model a name means. Both are here, so that they can't
disagree.

A model is called by its path below its folder, with ``/`` (``sub/model.safetensors``). You may ask for it by that name
or by the end of it (``model.safetensors``), with or without its ending, and with the hash that WebUIs put behind a name
(``model.safetensors [0a1b2c3d4e]``). What follows a dot is an ending only if it is one of :data:`ENDINGS`:
``real_v5.9`` is a whole name. Where a name could mean two models, neither is taken.
"""

from __future__ import annotations

import difflib
import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message, joined

log = logging.getLogger(__name__)
T = TypeVar("T")

ENDINGS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
"""The endings of model files, in upper or lower case."""
PICKLED = ENDINGS[1:]
"""The endings of files that may run code when they are opened; only ``torch.load(weights_only=True)`` ever opens
them."""
FOLDER_MARKS = ("model_index.json", "config.json")
"""A folder that has one of these files is one model in diffusers' layout."""

_HASH = re.compile(r"\s+\[[0-9a-fA-F]+\]$")


class AmbiguousName(InvalidRequest):
    """A name that two things have, so that it is not clear which one is meant."""


@dataclass(frozen=True)
class Named(Generic[T]):
    """Something that can be looked up: the ``name`` that lists show, and other names that mean it and nothing else."""

    name: str
    value: T
    aliases: tuple[str, ...] = ()


def ending(name: str) -> str:
    """Return the ending of a model file's name as it is written, "" where there is none."""
    lower = name.lower()
    return next((name[len(name) - len(e) :] for e in ENDINGS if lower.endswith(e)), "")


def bare(name: str) -> str:
    """Return a model's name without the hash of a WebUI and without the ending of a model file."""
    name = _HASH.sub("", name)
    return name[: len(name) - len(ending(name))]


def find(wanted: str, entries: Iterable[Named[T]], what: str) -> T | None:
    """Return what ``wanted`` means among ``entries``; None when it means nothing there.

    The name as it is listed comes first, then the name without its ending, then the end of a path. Upper and lower case
    differ unless nothing else fits. Raises :class:`AmbiguousName`, with the names of both, where two fit equally well;
    ``what`` is the word for such a thing ("base model").
    """
    known = list(entries)
    for reading in _READINGS:
        fitting = [entry for entry in known if any(reading(wanted, n) for n in (entry.name, *entry.aliases))]
        if len({id(entry.value) for entry in fitting}) > 1:
            names = joined(sorted(entry.name for entry in fitting)[:4], " and ")
            raise AmbiguousName(
                Message(
                    "{wanted!r} can mean more than one {what}: {candidates}; give the whole name.",
                    wanted=wanted,
                    what=Message(what),
                    candidates=names,
                )
            )
        if fitting:
            return fitting[0].value
    return None


def near(wanted: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Return the names that look most like ``wanted``, the best first; none where nothing is like it."""
    by_fold = {_fold(bare(_slashes(name)).rpartition("/")[2]): name for name in names}
    close = difflib.get_close_matches(_fold(bare(_slashes(wanted)).rpartition("/")[2]), list(by_fold), most, 0.6)
    return [by_fold[fold] for fold in close]


def did_you_mean(wanted: str, names: Iterable[str]) -> str:
    """Return the question that follows a sentence which says that there is no ``wanted``, with its space before; ""
    where nothing is like it."""
    close = near(wanted, names)
    return Message(" Did you mean {close}?", close=" or ".join(close)) if close else ""


def listed(root: Path, endings: Collection[str] = ENDINGS) -> list[Named[Path]]:
    """Return the model files and diffusers folders anywhere below ``root`` by their names, in order.

    What lies inside a folder model belongs to that model. Links are followed, but not to a folder in which they lie. A
    folder that can't be read is passed over with a line in the log. A link to nothing, and a folder with the ending of
    a model file, are listed too: whoever opens them says what is wrong.
    """
    return [Named(path.relative_to(root).as_posix(), path, (str(path),)) for path in _walk(root, endings)]


def find_file(wanted: str, root: Path, what: str, endings: Collection[str] = ENDINGS) -> Path | None:
    """Return the model below ``root`` that ``wanted`` means; see :func:`find`."""
    return find(wanted, listed(root, endings), what)


# --- readings of a name, the strictest first -------------------------------------------------------------------------


def _exact(wanted: str, name: str) -> bool:
    return wanted == name


def _same_path(wanted: str, name: str) -> bool:
    return _slashes(wanted) == _slashes(name)


def _without_hash(wanted: str, name: str) -> bool:
    return _HASH.sub("", _slashes(wanted)) == _HASH.sub("", _slashes(name))


def _without_ending(wanted: str, name: str) -> bool:
    """One that has its ending in one place only: ``model`` for ``model.ckpt``, but not ``model.pt`` for it."""
    wanted, name = (_HASH.sub("", _slashes(n)) for n in (wanted, name))
    return bare(wanted) == bare(name) and not (ending(wanted) and ending(name))


def _end_of_path(reading: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    def fits(wanted: str, name: str) -> bool:
        depth = _slashes(wanted).count("/") + 1
        parts = _slashes(name).split("/")
        return len(parts) > depth and reading(wanted, "/".join(parts[-depth:]))

    return fits


def _whatever_case(reading: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, name: reading(_fold(wanted), _fold(name))


_PLAIN = (_exact, _same_path, _without_hash, _without_ending)
_ORDERED = (*_PLAIN, _end_of_path(_without_hash), _end_of_path(_without_ending))
_READINGS = (*_ORDERED, *(_whatever_case(reading) for reading in _ORDERED[1:]))


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _fold(name: str) -> str:
    """Return a key that is equal for names that differ only in case, or in how a file system writes accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _walk(root: Path, endings: Collection[str], above: Sequence[Path] = ()) -> Iterator[Path]:
    try:
        real = root.resolve()
        if not root.is_dir() or real in above:
            return
        content = sorted(root.iterdir(), key=lambda p: (p.name.lower(), p.name))
    except (OSError, RuntimeError) as error:  # a link to itself is a RuntimeError before Python 3.13
        log.info("left out: %s", error)
        return
    for path in content:
        is_model = path.suffix.lower() in endings
        if not path.is_dir():
            if is_model:
                yield path
        elif is_model or any((path / mark).is_file() for mark in FOLDER_MARKS):
            yield path
        else:
            yield from _walk(path, endings, (*above, real))
