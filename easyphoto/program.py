"""Where the program itself lies: its package, and the files that it ships.

In a checkout both lie in the project's folder. A wheel carries the shipped files (the bench checkpoint, the preset
templates, and the style sheet and script of the tabs) in ``easyphoto/shipped``, under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder from which ``easyphoto`` is imported: the project's own, or ``site-packages``."""
_SHIPPED = Path(__file__).resolve().parent / "shipped"
INSTALLED = _SHIPPED.is_dir()
"""Whether this is a copy that pip installed. ``pip install --editable`` makes no copy: the checkout runs then."""
FILES = _SHIPPED if INSTALLED else ROOT
"""The folder of ``models/bench``, ``templates``, ``style.css`` and ``javascript``; read only. An installed program has
no Python files in it, so that a child process may start there and finds nothing to import."""
DATA = "EASYPHOTO_DATA"
"""The environment variable that names the folder of people, portraits and models."""


def data_folder(environment: Mapping[str, str] | None = None, installed: bool = INSTALLED) -> Path:
    """Return the folder of people, portraits and models when no option names one.

    It is what ``EASYPHOTO_DATA`` says, else the checkout, else ``EasyPhoto`` in the home folder: ``site-packages`` is
    no place for anybody's photos, and a new version of the package would remove them.
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
    """Return what a child process needs on its ``PYTHONPATH`` to find this package.

    An installed one needs nothing: its Python finds the package by itself, and with ``site-packages`` before the
    standard library a package there could replace a module of Python's own.
    """
    return [] if installed else [str(ROOT)]
