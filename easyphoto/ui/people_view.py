"""The people who are there, as cards in HTML: what each of them looks like, what is known of them, and what can be done
with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from easyphoto.errors import EasyPhotoError
from easyphoto.likeness import words as likeness_words
from easyphoto.messages import translated
from easyphoto.people import Person
from easyphoto.ui import panel
from easyphoto.ui.texts import say

PREFIX = "easyphoto_persons"
GO_ON = "easyphoto_train_go_on"
"""The hidden button that fills the Train tab with the options of a stopped training."""
TRAIN_TAB, INFERENCE_TAB = 0, 1


def cards(people: Sequence[Person], stopped: Sequence[str], models: Mapping[str, str], language: str) -> str:
    """Return a card for each person, and for each user id in ``stopped`` whose training can go on. ``models`` are the
    names of the base models that people were trained on, as the page calls them, by user id."""
    known = {person.user_id for person in people}
    made = [_card(person, person.user_id in stopped, models.get(person.user_id, ""), language) for person in people]
    made += [_half(name, language) for name in stopped if name not in known]
    if not made:
        return panel.nobody((), language)
    return f'<div class="easyphoto-people">{"".join(made)}</div>'


def _card(person: Person, goes_on: bool, model: str, language: str) -> str:
    lines = list(_facts(person, model, language))
    if goes_on:
        lines.append(say("training stopped", language))
    buttons = []
    if not person.fault and not person.scene:
        way = f'data-open-tab="{INFERENCE_TAB}" data-ask="{panel.PICK}"'
        buttons.append(_button(say("portrait", language), way, person.user_id, "first"))
    if goes_on:
        buttons.append(_button(say("resume", language), _going_on(), person.user_id))
    if not person.fault:
        buttons.append(_ask("export", person.user_id, language))
    buttons += [_ask(what, person.user_id, language) for what in ("rename", "delete")]
    return _drawn(person.user_id, person.reference, lines, buttons)


def _half(name: str, language: str) -> str:
    buttons = [_button(say("resume", language), _going_on(), name, "first"), _ask("delete", name, language)]
    return _drawn(name, None, [say("training stopped", language)], buttons)


def _facts(person: Person, model: str, language: str) -> Iterator[str]:
    """What is known of a person, in the order in which it matters."""
    marks = person.marks or {}
    if person.fault:
        yield translated(person.fault, language)
    if person.scene:
        yield say("is a scene", language)
    if not person.trained:
        yield say("is not trained", language, n=len(person.photos()))
    if person.likeness is not None:
        said = panel.likeness_said(person.likeness, language)
        yield say("person likeness", language, likeness=likeness_words(person.likeness), said=said)
    if person.cancelled:
        yield say("was stopped", language)
    elif not person.works and not person.fault:
        yield say("did not rise", language)
    if model:
        yield say("trained on model", language, model=model)
    if person.former:
        yield say("was called", language, names=", ".join(person.former))
    created = str(marks.get("created") or "")[:10]
    size = f"{person.size() / 2**20:.1f} MB"
    yield " · ".join(part for part in (created, size) if part)


def _going_on() -> str:
    return f'data-open-tab="{TRAIN_TAB}" data-ask="{GO_ON}"'


def _ask(what: str, name: str, language: str) -> str:
    return _button(say(what, language), f'data-ask="{PREFIX}_{what}"', name)


def _button(words: str, way: str, name: str, kind: str = "") -> str:
    value = escape(name, quote=True)
    return f'<button type="button" class="{kind}" {way} data-value="{value}">{escape(words)}</button>'


def _drawn(name: str, picture: Path | None, lines: Sequence[str], buttons: Sequence[str]) -> str:
    try:
        face = "" if picture is None else f'<img src="{panel.thumbnail(picture)}" alt=""/>'
    except (EasyPhotoError, OSError):
        face = ""
    face = face or '<div class="easyphoto-broken">?</div>'
    said = "".join(f"<p>{escape(line)}</p>" for line in lines)
    value = escape(name, quote=True)
    return (
        f'<article class="easyphoto-person" data-person="{value}">{face}<div><h4>{escape(name)}</h4>{said}'
        f'<div class="easyphoto-do">{"".join(buttons)}</div></div></article>'
    )
