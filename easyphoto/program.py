"""Where the program itself lies: its package, and the files that it ships.

In a checkout both are the project's folder. A wheel carries the shipped files (the bench checkpoint, the preset
templates, the style sheet and script of the tabs) in ``easyphoto/shipped``, under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder to import ``easyphoto`` from: the project's own, or ``site-packages``."""
_SHIPPED = Path(__file__).resolve().parent / "shipped"
INSTALLED = _SHIPPED.is_dir()
"""Whether this is a copy that pip installed. ``pip install --editable`` makes none: that is the checkout still."""
FILES = _SHIPPED if INSTALLED else ROOT
"""The folder of ``models/bench``, ``templates``, ``style.css`` and ``javascript``; read only. No Python lies in that of
an installed program, so that a child process may start there and finds nothing to import."""
DATA = "EASYPHOTO_DATA"
"""The environment variable that names the folder of people, portraits and models."""


def data_folder(environment: Mapping[str, str] | None = None, installed: bool = INSTALLED) -> Path:
    """The folder of people, portraits and models when no option names one.

    What ``EASYPHOTO_DATA`` says, else the checkout, else ``EasyPhoto`` in the home folder: ``site-packages`` is no
    place for anybody's photos, and a new version of the package would take them along.
    """
    named = (os.environ if environment is None else environment).get(DATA, "")
    if named.strip():
        return Path(named)
    if not installed:
        return ROOT
    try:
        return Path.home() / "EasyPhoto"
    except RuntimeError:  # a user without a home, as services have
        return Path.cwd() / "EasyPhoto"


def import_path(installed: bool = INSTALLED) -> list[str]:
    """What a child process needs on its ``PYTHONPATH`` to find this package.

    Nothing for an installed one: its Python finds it by itself, and ``site-packages`` before the standard library
    would let a package there replace a module of Python's own.
    """
    return [] if installed else [str(ROOT)]
