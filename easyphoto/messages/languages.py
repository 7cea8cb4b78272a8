"""Messages in other languages.

A file of a language holds English template -> Chinese template with the same places. A new language is one more such
file. What has no translation stays English; what was put into a place is translated if it is a message itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from easyphoto.messages.message import Joined, Message, Value

FOLDER = Path(__file__).parent
ENGLISH = "en"
LANGUAGES = (ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.json")))
"""Names of the languages that the program speaks."""


@lru_cache(maxsize=8)
def catalog(language: str) -> Mapping[str, str]:
    """English template -> template in ``language``; empty for a language that there is none for."""
    if language == ENGLISH or language not in LANGUAGES:
        return {}
    found: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


def translated(text: str, language: str) -> str:
    """A message, or a text that a template without places is, in ``language``."""
    known = catalog(language)
    return str(text) if not known else _said(text, known)


def _said(text: str, known: Mapping[str, str]) -> str:
    if isinstance(text, Joined):
        return known.get(text.template, text.template).join(_said(part, known) for part in text.parts)
    if not isinstance(text, Message):
        return known.get(text, text)
    values: dict[str, Value] = {
        name: _said(value, known) if isinstance(value, Message) else value for name, value in text.values.items()
    }
    template = known.get(text.template) or _as_a_part(text.template, known)
    return template.format_map(values) if values else template


def _as_a_part(template: str, known: Mapping[str, str]) -> str:
    """A sentence without its full stop, as it stands in another one."""
    whole = known.get(f"{template}.")
    return template if whole is None else whole.rstrip("。. ")
