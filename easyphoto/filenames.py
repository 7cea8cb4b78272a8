"""Names of files that every system can hold: bounded in bytes, and of characters that a name may have.

A name that is fine here may be too long or forbidden elsewhere. File systems count bytes and not characters (255, and
143 where eCryptfs encrypts names), Windows reserves words and characters for itself, and half a surrogate pair can't be
written anywhere.
"""

from __future__ import annotations

import unicodedata

NAME_BYTES = 143
"""The longest name in bytes of UTF-8 that every usual file system takes: eCryptfs' bound."""
FORBIDDEN = frozenset('\\/:*?"<>|')
_NUMBERS = (*"0123456789", "\u00b9", "\u00b2", "\u00b3")
RESERVED = frozenset(
    ("con", "prn", "aux", "nul", "conin$", "conout$", *(f"{port}{n}" for port in ("com", "lpt") for n in _NUMBERS))
)
"""The words that Windows takes for a device, with or without an extension."""
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""The Unicode categories that have no place in a name: control characters, halves of pairs, and line ends."""
_JOINERS = ("\u200d", "\ufe0e", "\ufe0f")


def safe(text: str, limit: int = NAME_BYTES, fallback: str = "file") -> str:
    """Return ``text`` as a part of a file's name, of at most ``limit`` bytes of UTF-8; ``fallback`` where nothing is
    left.

    A character that a name may not have becomes ``_``, and a word that Windows reserves gets one in front.
    """
    plain = "".join("_" if c in FORBIDDEN or unicodedata.category(c) in _NO_TEXT else c for c in text)
    name = cut(plain.strip(" ."), limit).strip(" .")
    if name.split(".")[0].rstrip().casefold() in RESERVED:
        name = cut(f"_{name}", limit).strip(" .")
    return name or fallback


def cut(text: str, limit: int) -> str:
    """Return the beginning of ``text`` that fits into ``limit`` bytes of UTF-8. It is cut before a whole character:
    marks and joined emoji stay with what they belong to. Half a surrogate pair counts as three bytes."""
    if _size(text) <= limit:
        return text
    end, used = 0, 0
    for index, char in enumerate(text):
        used += _size(char)
        if used > limit:
            break
        end = index + 1
    while end > 0 and _belongs(text, end):
        end -= 1
    return text[:end]


def shown(text: str) -> str:
    """Return ``text`` as it can be printed, sent and written. What is no text (bytes of a file name that are not UTF-8,
    half a surrogate pair, control characters) becomes the replacement character."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def _belongs(text: str, index: int) -> bool:
    """Return whether the character at ``index`` is a part of the one before it."""
    here, before = text[index], text[index - 1]
    return bool(unicodedata.combining(here)) or here in _JOINERS or before == _JOINERS[0] or _tone(here)


def _tone(char: str) -> bool:
    return "\U0001f3fb" <= char <= "\U0001f3ff"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
