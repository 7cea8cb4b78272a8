"""One portrait of the history in HTML: beside its template, with its likeness and what can be done with it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from easyphoto.errors import EasyPhotoError
from easyphoto.likeness import words as likeness_words
from easyphoto.service import NOBODY
from easyphoto.ui import compat, panel
from easyphoto.ui.history import Made
from easyphoto.ui.texts import say

SHOW = "easyphoto_history_show"
"""The hidden button that shows a portrait beside its template."""
OPEN = "easyphoto_history_open"
"""The hidden button that opens the folder of a portrait."""
USE, AGAIN = "easyphoto_generate_use", "easyphoto_generate_again"
"""The hidden buttons of the Inference tab that make a portrait a template, and that fill in its recipe."""
SIDE = 1024
"""The longer side, in pixels, of the pictures that are compared."""
PORTRAITS_TAB = 5
"""The number of the Portraits tab."""
PRESETS_TAB, TEXT_TAB = 0, 3
"""The numbers of the inner tabs for templates."""


def shown(made: Made, name: str, template: Path | None, language: str, *, opens: bool = False) -> str:
    """Return the portrait, which the page knows by ``name``, beside its ``template`` if that is still there. With
    ``opens``, its folder can be opened from this page."""
    lines = [" · ".join(who for who in made.people if who != NOBODY)]
    if made.likeness is not None:
        said = panel.likeness_said(made.likeness, language)
        lines.append(say("person likeness", language, likeness=likeness_words(made.likeness), said=said))
    if made.template and template is None:
        lines.append(say("template gone", language, name=made.template))
    inner = PRESETS_TAB if made.template else TEXT_TAB
    buttons = _download(made.path, language) + _button(say("use as template", language), USE, name, PRESETS_TAB)
    buttons += _button(say("again", language), AGAIN, name, inner)
    folder, value = str(made.path.parent), escape(name, quote=True)
    way = (
        f'<button type="button" data-ask="{OPEN}" data-value="{value}">{escape(say("open folder", language))}</button>'
    )
    place = (
        f'<p class="easyphoto-path"><span>{escape(say("lies in", language))}</span> <code>{escape(folder)}</code> '
        f'<button type="button" data-copy="{escape(folder, quote=True)}">{escape(say("copy", language))}</button> '
        f"{way if opens else ''}</p>"
    )
    said = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    pair = _pair(made.path, template, language)
    return (
        f'<div class="easyphoto-panel" data-portrait="{value}">{pair}'
        f'{said}<div class="easyphoto-do">{buttons}</div>{place}</div>'
    )


def made_just_now(path: Path, name: str, language: str) -> str:
    """Return what can be done at once with a portrait that the history knows by ``name``."""
    words, value = escape(say("beside template", language)), escape(name, quote=True)
    look = (
        f'<button type="button" data-open-tab="{PORTRAITS_TAB}" data-ask="{SHOW}" data-value="{value}">{words}</button>'
    )
    return f'<div class="easyphoto-do easyphoto-take">{_download(path, language)}{look}</div>'


def _download(path: Path, language: str) -> str:
    """Return the link that downloads a portrait; nothing if it can't be read."""
    try:
        address = compat.file_link(path)
    except OSError:
        return ""
    where, name, words = escape(address, quote=True), escape(path.name, quote=True), escape(say("download", language))
    return f'<a class="first" href="{where}" download="{name}">{words}</a>'


def _pair(portrait: Path, template: Path | None, language: str) -> str:
    """Return the portrait below its template, with a slider that moves the border between them."""
    try:
        after = panel.thumbnail(portrait, SIDE)
        before = "" if template is None else panel.thumbnail(template, SIDE)
    except (EasyPhotoError, OSError):
        return ""
    words = escape(say("compare", language), quote=True)
    over = f'<img class="before" src="{before}" alt=""/><i></i><input type="range" min="0" max="100" value="50" '
    over += f'aria-label="{words}" title="{words}"/>'
    return f'<div class="easyphoto-compare"><img src="{after}" alt=""/>{over if before else ""}</div>'


def _button(words: str, ask: str, name: str, inner: int) -> str:
    return (
        f'<button type="button" data-open-tab="1" data-open-templates="{inner}" data-ask="{ask}" '
        f'data-value="{escape(name, quote=True)}">{escape(words)}</button>'
    )
