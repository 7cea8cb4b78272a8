"""The reports that batches leave: which of them tell of a person, and how they go with that person."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from easyphoto.filenames import shown
from easyphoto.storage import listing

PAGE, TABLE, THUMBNAILS = "report.html", "report.csv", "thumbnails"
PEOPLE = "user"
"""The column of the table that says who is on a portrait."""
BETWEEN = ", "
"""Stands between several people in one cell of it."""
_WHO = re.compile(r'<(?:span|td) class="who">([^<]*)<')
"""Where the page says who is on a portrait."""


def of(folder: Path, user_id: str) -> list[Path]:
    """Return the folders under ``folder`` that have a report which names the person. Raises OSError."""
    found = {path.parent for name in (PAGE, TABLE) for path in listing.below(folder, name)}
    name = shown(user_id)
    return [one for one in sorted(found) if _is_in_table(name, one / TABLE) or _is_in_page(name, one / PAGE)]


def remove(folder: Path) -> list[Path]:
    """Remove the report in ``folder`` with its thumbnails, and return what was removed; the batch makes it again next
    time. Raises OSError."""
    gone = list(_files(folder))
    for path in gone:
        path.unlink()
    with contextlib.suppress(OSError):
        (folder / THUMBNAILS).rmdir()
    return gone


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for name in (PAGE, TABLE) if (path := folder / name).is_file())
    yield from sorted((folder / THUMBNAILS).glob("*.jpg"))


def _is_in_table(name: str, table: Path) -> bool:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return any(_is_among(name, str(row[PEOPLE])) for row in csv.DictReader(file))
    except (OSError, ValueError, KeyError, csv.Error):
        return False


def _is_among(name: str, cell: str) -> bool:
    """Whether a cell names the person; a name may itself have what stands between two."""
    plain = cell.removeprefix("'")
    return f"{BETWEEN}{name}{BETWEEN}" in f"{BETWEEN}{plain}{BETWEEN}" or cell == name


def _is_in_page(name: str, page: Path) -> bool:
    """Whether the page names the person as one of those whom a row is about: its table may be there no more."""
    try:
        text = page.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(_is_among(name, unescape(cell)) for cell in _WHO.findall(text))
