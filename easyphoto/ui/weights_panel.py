"""The content of the Weights tab as HTML: the files of a feature, and the effect of the licence switch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from easyphoto.catalog.download_plan import size
from easyphoto.catalog.weights import Entry, Needs, Serving
from easyphoto.messages import translated
from easyphoto.service import Preferences
from easyphoto.ui.texts import say


def needs(feature: Needs, language: str, *, offline: bool, commercial_only: bool) -> str:
    """Return the files of a feature: what is there, what is missing, sizes and licences, and one line with the
    total."""
    rows = "".join(_row(entry, language) for entry in feature.entries)
    heads = "".join(f"<th>{escape(say(f'column {name}', language))}</th>" for name in ("file", "size", "licence"))
    notes = [_summary(feature, language)]
    if feature.missing and offline:
        notes.append(_note(say("offline", language)))
    if not feature.commercial:
        notes.append(_note(say("non_commercial", language)))
    if commercial_only and any(e.state == "left out" for e in feature.entries):
        notes.append(_note(say("some_left_out", language)))
    return (
        f'<div class="easyphoto-panel easyphoto-needs" data-bundle="{escape(feature.bundle.name)}">'
        f"{''.join(notes)}<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def decided(preferences: Preferences, serving: Sequence[Serving], language: str, *, in_webui: bool) -> str:
    """Return the licence switch and the precision, where they can be changed, and what serves each role of vision."""
    key = "commercial on" if preferences.commercial_only else "commercial off"
    switch, why = say(key, language), say(f"{key} why", language)
    how = say("change in webui" if in_webui else "change in app", language)
    precision = say("precision", language, precision=preferences.precision)
    rows = "".join(
        f"<tr><td>{escape(say(f'role {s.role}', language))}</td><td><b>{escape(s.name or '-')}</b></td>"
        f"<td>{escape(say('instead_of', language, names=', '.join(s.left_out)) if s.left_out else '')}</td></tr>"
        for s in serving
    )
    table = f"<table><tbody>{rows}</tbody></table>" if rows else ""
    only = str(preferences.commercial_only).lower()
    return (
        f'<div class="easyphoto-panel easyphoto-decided" data-commercial-only="{only}">'
        f'<p class="easyphoto-state">{escape(switch)}</p><p>{escape(why)}</p><p>{escape(precision)}</p>'
        f'<p class="easyphoto-hint">{escape(how)}</p>{table}</div>'
    )


def _summary(feature: Needs, language: str) -> str:
    there = sum(e.state == "there" for e in feature.entries)
    if not feature.missing:
        return f'<p class="easyphoto-state finished">{escape(say("complete", language, n=there))}</p>'
    about = "" if feature.exact else say("about", language)
    count, total = len(feature.missing), about + size(feature.bytes)
    if there:
        text = say("to_fetch", language, n=count, size=total, there=there)
    else:
        text = say("to_fetch_all", language, n=count, size=total)
    return f'<p class="easyphoto-state">{escape(text)}</p>'


def _row(entry: Entry, language: str) -> str:
    asset = entry.asset
    state = entry.state.replace(" ", "-")
    chip = say(f"state {entry.state}", language)
    about = say("about", language) if asset.about else ""
    notes = [translated(asset.what, language)]
    if entry.state == "there" and entry.file != asset.file:
        notes.append(say("found_as", language, file=entry.file))
    if entry.note:
        notes.append(translated(entry.note, language))
    if asset.optional:
        notes.append(say("optional", language))
    kind = "" if asset.commercial else ' class="easyphoto-noncommercial"'
    return (
        f'<tr class="{state}"><td><span class="easyphoto-chip {state}">{escape(chip)}</span></td>'
        f"<td><b>{escape(asset.file)}</b><br/><small>{escape(' · '.join(notes))}</small></td>"
        f"<td>{escape(about + size(asset.bytes))}</td>"
        f"<td{kind}>{escape(translated(asset.licence, language))}</td></tr>"
    )


def _note(text: str) -> str:
    return f'<p class="easyphoto-note">{escape(text)}</p>'
