"""What base models are called on the page: the small one that ships is called a demo, and an empty choice says what it
means."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from easyphoto import families
from easyphoto.people import Person
from easyphoto.ports import Checkpoint
from easyphoto.ui.texts import say

WEIGHTS_TAB = 2
"""The place of the Weights tab among the tabs."""


def called(checkpoint: Checkpoint, language: str) -> str:
    """Return the name of a base model, which for the one that ships says that it is a small demo."""
    if families.spec(checkpoint.family).shipped:
        return say("demo model", language, name=checkpoint.name)
    return checkpoint.name


def as_trained(person: Person | None, known: Sequence[Checkpoint], language: str) -> str:
    """Return what an empty choice means: the base model that the person was trained on, named if that is known."""
    if person is None or person.family is None:
        return say("as trained", language)
    trained = str((person.marks or {}).get("base_model", ""))
    model = next((c for c in known if trained in (c.name, c.path.name, c.path.stem)), None)
    return say("as trained on", language, name=called(model, language) if model else trained or person.family.value)


def demo_hint(checkpoint: Checkpoint | None, language: str) -> str:
    """Return the way to a full model, for whoever is about to use the small one; empty for any other."""
    if checkpoint is None or not families.spec(checkpoint.family).shipped:
        return ""
    way = f'<button type="button" data-open-tab="{WEIGHTS_TAB}">{escape(say("to weights", language))}</button>'
    return f'<p class="easyphoto-others easyphoto-demo">{escape(say("demo only", language))} {way}</p>'
