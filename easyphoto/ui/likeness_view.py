"""Likeness panels as HTML: a bar for each embedder, between floor and ceiling, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from easyphoto.likeness import cosine_words
from easyphoto.measures.likeness_panel import PanelWord
from easyphoto.ui.texts import say


def of_result(result: Mapping[str, Any], language: str) -> str:
    """Return the panels that the last event of a job carries: that of a training, or one for each person of some
    portraits, which nothing was measured of where ``pictures`` are none."""
    trained, portrayed = result.get("panel"), result.get("panels")
    if isinstance(trained, Mapping):
        return bars(trained, language)
    told = portrayed.items() if isinstance(portrayed, Mapping) else ()
    return "".join(
        f'<p class="easyphoto-step"><b>{escape(str(name))}</b></p>{bars(panel, language, floor=_floor(panel))}'
        for name, panel in told
        if isinstance(panel, Mapping) and panel.get("pictures")
    )


def bars(panel: Mapping[str, Any], language: str, floor: str = "floor") -> str:
    """Return the panel that ``person.json`` and a job's last event carry. Numbers that were not measured are left out.
    ``floor`` names what the floor is: "floor" for the base model, "template" for the template's own face."""
    rows = [_row(panel.get(kind), kind, language, floor) for kind in ("judge", "reporter")]
    shown = _lines(_verdict(panel, language), _doubt(panel, language, floor))
    rest = _lines(*_notes(panel, language))
    head = f'<summary class="easyphoto-step">{escape(say("more on likeness", language))}</summary>'
    more = f"<details>{head}{rest}</details>" if rest else ""
    return f'<div class="easyphoto-likeness">{"".join(rows)}{shown}{more}</div>'


def _lines(*lines: str) -> str:
    return "".join(f'<p class="easyphoto-step">{escape(line)}</p>' for line in lines if line)


def _floor(panel: Mapping[str, Any]) -> str:
    """What the floor of some portraits is; older panels don't say."""
    return "floor" if panel.get("floor_of") == "without the LoRA" else "template"


def _told(panel: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of the embedders that saw the pictures."""
    return [row for kind in ("judge", "reporter") if isinstance(row := panel.get(kind), Mapping)]


def word(panel: Any) -> PanelWord | None:
    """Return what the panel of an event or a file says in a few words; None where it says nothing that is known."""
    said = panel.get("word") if isinstance(panel, Mapping) else None
    return next((known for known in PanelWord if known == said), None)


def _verdict(panel: Mapping[str, Any], language: str) -> str:
    said = word(panel)
    if said is PanelWord.COPY:
        return say("panel copies", language, photo=panel.get("dominant_photo") or "?")
    return say(f"panel {said.value}", language) if said else ""


def _doubt(panel: Mapping[str, Any], language: str, floor: str) -> str:
    """Why no gain is proven, if none is."""
    unmeasured = [str(row.get("embedder", "?")) for row in _told(panel) if row.get("measured") is False]
    if not panel.get("reporter"):
        return say("panel one", language)
    if unmeasured:
        return say("panel unmeasured", language, embedder=", ".join(unmeasured))
    if not panel.get("proven"):
        return say("panel unproven" if floor == "floor" else "panel unproven template", language)
    return ""


def _notes(panel: Mapping[str, Any], language: str) -> list[str]:
    """What else is worth a line: what was copied, which faces were missing."""
    lines = []
    if panel.get("copying") is not None:
        lines.append(say("panel copying", language, index=f"{float(panel['copying']):+.2f}"))
    if panel.get("dominant_photo"):
        which = "panel nearest" if panel.get("pictures") == 1 else "panel dominant"
        lines.append(say(which, language, photo=panel["dominant_photo"]))
    if panel.get("missing"):
        lines.append(say("panel missing", language, n=panel["missing"], of=panel.get("pictures", "?")))
    if panel.get("not_applicable"):
        lines.append(say("panel not applicable", language, n=panel["not_applicable"]))
    held_out = panel.get("held_out") or []
    names = ", ".join(str(name) for name in held_out)
    lines.append(say("panel held out", language, photos=names) if held_out else say("panel left out", language))
    return lines


def _row(row: Any, kind: str, language: str, floor: str) -> str:
    """The bar of one embedder, from the floor (or the stranger threshold, if that is lower) to the ceiling."""
    if not isinstance(row, Mapping) or row.get("value") is None:
        return ""
    marks = {name: float(row[name]) for name in ("floor", "threshold", "value", "ceiling") if row.get(name) is not None}
    low, high = min(marks.values()), max(marks.values())
    room = max(high - low, 1e-6)
    called = {name: say(f"panel {floor if name == 'floor' else name}", language) for name in marks}
    ticks = "".join(
        f'<i class="{name}" style="left:{100 * (value - low) / room:.1f}%" '
        f'title="{escape(called[name])} {cosine_words(value)}"></i>'
        for name, value in marks.items()
    )
    filled = 100 * (marks["value"] - low) / room
    told = " · ".join(f"{called[name]} {cosine_words(value)}" for name, value in marks.items())
    head = say(f"panel {kind}", language, embedder=row.get("embedder", "?"))
    return (
        f'<p class="easyphoto-step"><span>{escape(head)}</span><span>{escape(told)}</span></p>'
        f'<div class="easyphoto-scale"><span style="width:{filled:.1f}%"></span>{ticks}</div>'
    )
