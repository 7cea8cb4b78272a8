"""Where people's LoRAs lie a second time, in the folders of other programs: these go when the person goes, whichever
command deletes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from easyphoto.storage import files

NOTE = ".easyphoto-elsewhere.json"
"""The file in the folder of LoRAs that names the other places, by the names of the LoRAs."""


def note(lora: Path, place: Path, loras: Path) -> None:
    """Write down in the folder ``loras`` that a LoRA of a person lies, or is about to lie, at ``place`` too. Places
    where it doesn't lie any more are struck out. Raises :class:`StorageFailed`."""
    known = _read(loras)
    told = known.get(lora.name, [])
    if str(place) not in told:
        there = [one for one in told if Path(one).is_file()]
        files.write_json(loras / NOTE, {**known, lora.name: [*there, str(place)]})


def places(names: Iterable[str], loras: Path) -> list[Path]:
    """Return the other places, as far as they exist, of the LoRAs that are or were called ``names``."""
    known = _read(loras)
    found = [Path(place) for name in names for place in known.get(name, ())]
    return [place for place in found if place.is_file()]


def forget(names: Iterable[str], loras: Path) -> None:
    """Strike out the places of the LoRAs of these names. Raises :class:`StorageFailed`."""
    known, gone = _read(loras), frozenset(names)
    left = {name: there for name, there in known.items() if name not in gone}
    if left != known:
        files.write_json(loras / NOTE, left)


def _read(loras: Path) -> dict[str, list[str]]:
    try:
        known = files.read_json(loras / NOTE)
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {str(name): [str(place) for place in there] for name, there in known.items() if isinstance(there, list)}
