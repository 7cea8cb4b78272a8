"""The report of a batch: a page of pictures that needs nothing but its folder, and a table of the same.

Whoever reads it trusts the program and not the names in it: user ids, templates and output names come from strangers'
tables and file names. Every text is escaped, every address is a relative one, and the page runs no script.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.batch.outcomes import FAILED, LEFT, MADE, STATES, THERE, BatchResult, Outcome, picked
from easyphoto.errors import EasyPhotoError
from easyphoto.filenames import shown
from easyphoto.likeness import words
from easyphoto.measures.likeness_panel import PanelWord
from easyphoto.messages import Message, translated
from easyphoto.messages.languages import ENGLISH
from easyphoto.storage import files
from easyphoto.storage.batch_reports import PAGE, PEOPLE, TABLE, THUMBNAILS

SIDE = 256
"""Pixels of a thumbnail's longer side."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
_STYLE = """
body{font:15px/1.45 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;margin:2rem}
body{color:#1d2330;background:#fafafa}
h1{font-size:1.4rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .6rem}p{margin:.2rem 0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:14px}
figure{margin:0;background:#fff;border:1px solid #dfe3ea;border-radius:8px;overflow:hidden}
figure a{display:flex;height:200px;align-items:center;justify-content:center;background:#f0f2f6;text-decoration:none}
img{max-width:100%;max-height:200px;display:block}
figcaption{padding:.5rem .6rem;overflow-wrap:anywhere}
.who{font-weight:600}.small{color:#667085;font-size:.85em}.likeness{float:right;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;background:#fff}
td,th{border:1px solid #dfe3ea;padding:.35rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.failed td{background:#fff5f4}
"""


def write(title: str, folder: Path, outcomes: Sequence[Outcome], language: str = ENGLISH) -> BatchResult:
    """Write the page, the table and the thumbnails into ``folder``. Raises :class:`StorageFailed`."""
    small = {outcome.name: _thumbnail(outcome.picture, folder) for outcome in outcomes if outcome.picture is not None}
    page = _Page(title, folder, language, {name: path for name, path in small.items() if path is not None})
    files.write_bytes(folder / PAGE, page.html(outcomes).encode("utf-8", "replace"))
    files.write_bytes(folder / TABLE, _table(outcomes, folder, language).encode("utf-8-sig", "replace"))
    return BatchResult(folder, tuple(outcomes), folder / PAGE, folder / TABLE)


def _thumbnail(path: Path, folder: Path) -> Path | None:
    """A small copy of a picture, made once for each state of it; None for what can't be read."""
    try:
        state = path.stat()
        told = f"{path.name}|{state.st_size}|{state.st_mtime_ns}".encode("utf-8", "replace")
        small = folder / THUMBNAILS / f"{hashlib.sha256(told).hexdigest()[:20]}.jpg"
        if small.is_file():
            return small
        image = Pillow.fromarray(pictures.load(path, max_side=2 * SIDE))
    except (EasyPhotoError, OSError):
        return None
    image.thumbnail((SIDE, SIDE), Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    files.write_bytes(small, buffer.getvalue())
    return small


def _table(outcomes: Iterable[Outcome], folder: Path, language: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ("line", "output", PEOPLE, "template", "state", "file", "likeness", "embedder", "seed", "code", "message")
    )
    for one in outcomes:
        likeness = " ".join(words(score) for score in one.likeness)
        said = translated(one.message, language)
        file = "" if one.picture is None else _relative(one.picture, folder)
        row = (one.line or "", one.name, one.subject, one.on, one.state, file, likeness, one.embedder)
        seed = "" if one.seed is None else one.seed
        writer.writerow([_cell(value) for value in (*row, seed, one.code, said)])
    return text.getvalue()


def _cell(value: object) -> str:
    """A value that no spreadsheet takes for a formula."""
    text = shown(str(value))
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int | float) else text


def _relative(path: Path, folder: Path) -> str:
    """The path from the report's folder; the name alone of what lies elsewhere."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.name


def _panel_words(one: Outcome) -> list[Message]:
    """What the likeness panel says of each face of a portrait."""
    known = {
        PanelWord.PERSON.value: Message("Looks like the person."),
        PanelWord.RELATIVE.value: Message("Looks like a relative."),
        PanelWord.TEMPLATE.value: Message("Looks like the template."),
    }
    copies = PanelWord.COPY.value
    found = (
        Message("Copies {photo}.", photo=photo) if word == copies else known.get(word) for word, photo in one.words
    )
    return [told for told in found if told is not None]


class _Page:
    """The page in one language. ``small``: the thumbnails by the names of their outcomes."""

    def __init__(self, title: str, folder: Path, language: str, small: dict[str, Path]) -> None:
        self._title = title
        self._folder = folder
        self._language = language
        self._small = small

    def html(self, outcomes: Sequence[Outcome]) -> str:
        there = [one for one in outcomes if one.state in (MADE, THERE)]
        failed, left = picked(outcomes, FAILED), picked(outcomes, LEFT)
        parts = [f"<h1>{self._text(shown(self._title))}</h1>", f"<p>{self._summary(outcomes)}</p>"]
        if failed:
            parts += [f"<h2>{self._said(Message('What failed'))}</h2>", self._failures(failed)]
        if there:
            parts.append(f'<h2>{self._said(Message("What is there"))}</h2><div class="grid">')
            parts += [self._figure(one) for one in there]
            parts.append("</div>")
        if left:
            parts += [f"<h2>{self._said(Message('What is still to be made'))}</h2>", self._rest(left)]
        policy = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
        return (
            f'<!DOCTYPE html>\n<html lang="{escape(self._language)}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{self._text(shown(self._title))}</title><style>{_STYLE}</style></head><body>\n"
            + "\n".join(parts)
            + "\n</body></html>\n"
        )

    def _summary(self, outcomes: Sequence[Outcome]) -> str:
        counts = {state: len(picked(outcomes, state)) for state in STATES}
        return self._said(
            Message(
                "{made} made now, {there} there before, {failed} failed, {left} still to be made.",
                made=counts[MADE],
                there=counts[THERE],
                failed=counts[FAILED],
                left=counts[LEFT],
            )
        )

    def _figure(self, one: Outcome) -> str:
        likeness = ", ".join(words(score) for score in one.likeness) or "-"
        small = self._small.get(one.name)
        alt = self._text(f"{shown(one.subject)} {shown(one.on)}".strip())
        inner = f'<img loading="lazy" alt="{alt}" src="{self._address(small)}">' if small else "?"
        where = one.picture if one.picture is not None and self._folder in one.picture.parents else small
        link = f'<a href="{self._address(where)}">{inner}</a>' if where else f"<a>{inner}</a>"
        title = self._text(self._said_plain(Message("likeness by {embedder}", embedder=one.embedder or "-")))
        about = [one.on, f"{one.name}.png" if one.line else "", "" if one.seed is None else f"seed {one.seed}"]
        if one.line:
            about.append(self._said_plain(Message("line {line}", line=one.line)))
        about += [self._said_plain(told) for told in _panel_words(one)]
        lines = " · ".join(self._text(shown(text)) for text in about if text)
        return (
            f'<figure>{link}<figcaption><span class="likeness" title="{title}">{self._text(likeness)}</span>'
            f'<span class="who">{self._text(shown(one.subject))}</span><br><span class="small">{lines}</span>'
            "</figcaption></figure>"
        )

    def _failures(self, failed: Sequence[Outcome]) -> str:
        rows = (f'<tr class="failed">{self._which(one)}<td>{self._said(one.message)}</td></tr>' for one in failed)
        return f"<table>{''.join(rows)}</table>"

    def _rest(self, left: Sequence[Outcome]) -> str:
        return f"<table>{''.join(f'<tr>{self._which(one)}</tr>' for one in left)}</table>"

    def _which(self, one: Outcome) -> str:
        """The cells that say which row of the table it is."""
        return (
            f'<td>{one.line or ""}</td><td class="who">{self._text(shown(one.subject))}</td>'
            f"<td>{self._text(shown(one.on))}</td>"
        )

    def _address(self, path: Path) -> str:
        """A relative address, which can't be taken for one with a scheme."""
        return "./" + quote(_relative(path, self._folder), errors="replace")

    def _said_plain(self, message: str) -> str:
        return translated(message, self._language)

    def _said(self, message: str) -> str:
        return self._text(self._said_plain(message))

    @staticmethod
    def _text(text: str) -> str:
        return escape(text, quote=True)
