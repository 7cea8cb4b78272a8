"""Messages in other languages.

The file of a language maps each English template to a template of that language with the same places. One more such
file adds a language. A text without translation stays English. A message inside another one is translated too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from easyphoto.messages.message import Joined, Message, Value

FOLDER = Path(__file__).parent
ENGLISH = "en"
LANGUAGES = (ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.json")))
"""Names of the languages that the program speaks."""


def spoken(tag: str) -> str:
    """Return the language of the program for a language tag such as ``zh-CN``; English if the program speaks no such
    language."""
    wanted = tag.strip().lower().replace("_", "-")
    known = sorted(LANGUAGES, key=len, reverse=True)
    return next((name for name in known if f"{wanted}-".startswith(f"{name.lower()}-")), ENGLISH)


def named_in(text: str) -> str:
    """Return the language whose name stands in ``text``, such as a file name of a WebUI's translation, or an empty
    text."""
    names = (name for name in LANGUAGES if name != ENGLISH)
    return next((n for n in names if re.search(rf"(?<![a-z]){n.lower()}(?![a-z]{{3}})", text.lower())), "")


@lru_cache(maxsize=8)
def catalog(language: str) -> Mapping[str, str]:
    """Return the templates of ``language`` by English template. The answer is empty for an unknown language."""
    if language == ENGLISH or language not in LANGUAGES:
        return {}
    found: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


def translated(text: str, language: str) -> str:
    """Return a message in ``language``. A plain text is translated too if it is a template without places."""
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
    """Return the translation of a sentence without its full stop, as it stands inside another sentence."""
    whole = known.get(f"{template}.")
    return template if whole is None else whole.rstrip("。. ")
