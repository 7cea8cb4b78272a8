"""What the photo coach says, as HTML: the state, what to do, and a small map of where the heads look."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from easyphoto.messages import translated
from easyphoto.ui.texts import say

if TYPE_CHECKING:
    from easyphoto.training.photo_coach import Coaching

_PLACES = {"up": (1, 2), "left": (2, 1), "front": (2, 2), "right": (2, 3), "down": (3, 2)}
"""The row and the column of each direction in the map."""


def coaching(said: Coaching, language: str) -> str:
    """Return what the coach says of the uploaded photos."""
    state = said.state.value
    lines = "".join(f"<li>{escape(translated(one.sentence, language))}</li>" for one in said.suggestions)
    cells = "".join(
        f'<span class="{"seen" if count else "unseen"}" style="grid-area:{row}/{column}" '
        f'data-looks="{where.value}" '
        f'title="{escape(say(f"looks {where.value}", language))}">{count}</span>'
        for where, count in said.poses.items()
        for row, column in (_PLACES[where.value],)
    )
    head = escape(say(f"coach {state}", language))
    return (
        f'<div class="easyphoto-coach" data-state="{state}"><div><p class="easyphoto-state">{head}</p>'
        f'<ul>{lines}</ul></div><div class="easyphoto-looks"><p>{escape(say("coach poses", language))}</p>'
        f'<div class="easyphoto-poses">{cells}</div></div></div>'
    )
