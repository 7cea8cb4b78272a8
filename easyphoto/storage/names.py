"""What a person may be called. A name is also the name of a folder and of a LoRA file, on every system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from easyphoto.errors import InvalidRequest

TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of the text behind them: you would read a name with one of them as another
name."""
FORBIDDEN = '\\/:*?"<>|'
_PORTS = "123456789¹²³"
RESERVED = frozenset(
    {"none", "con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in _PORTS}
)
MAX_CHARACTERS = 64
MAX_BYTES = 180


def user_id(text: str) -> str:
    """Return the one canonical form of a new name: NFC-normalised and without spaces around it.

    A name may be in any script. One that can't be a file name on some system, or that could lead out of the folder, is
    refused with :class:`InvalidRequest`.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if all(unicodedata.category(c) == "Cf" for c in name):  # nothing, or nothing that can be seen
        raise InvalidRequest("The user id is empty: type a name for this person.")
    bad = sorted({c for c in name if _forbidden(c)})
    if bad:
        shown = " ".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in bad)
        raise InvalidRequest("The user id may not contain {shown}.", shown=shown)
    if name.startswith(".") or name.endswith("."):
        raise InvalidRequest("The user id may not begin or end with a dot.")
    if name.split(".")[0].casefold().rstrip() in RESERVED:
        raise InvalidRequest("The user id {name!r} is a reserved word: choose another.", name=name)
    if len(name) > MAX_CHARACTERS or len(name.encode()) > MAX_BYTES:
        raise InvalidRequest(
            "The user id is too long: at most {max_characters} characters.", max_characters=MAX_CHARACTERS
        )
    return name


def _forbidden(c: str) -> bool:
    return c in FORBIDDEN or c in TURNING or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")


def portable(part: str) -> bool:
    """Return whether a file of that name can be written on every system and is found again under the same spelling."""
    return bool(
        part
        and part == part.strip()
        and not part.startswith(".")
        and not part.endswith(".")
        and not any(map(_forbidden, part))
        and part.split(".", maxsplit=1)[0].casefold().rstrip() not in RESERVED
        and len(part.encode()) <= 240
    )


def key(name: str) -> str:
    """Return a key that is equal for names that some file system takes for one: they differ in case, in composed and
    decomposed accents, or in spaces and dots at the end."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return folded.strip().rstrip(". ")


def alike(name: str, others: Iterable[str]) -> str | None:
    """Return the first of ``others`` that is not ``name`` itself but that some file system takes for it."""
    wanted = key(name)
    return next((other for other in others if other != name and key(other) == wanted), None)
