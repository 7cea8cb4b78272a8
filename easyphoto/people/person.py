"""A trained person or scene, and what went with one who was deleted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message
from easyphoto.storage import listing
from easyphoto.storage.folders import PersonFolder


@dataclass(frozen=True)
class Person:
    """One identity: trained or, where ``trained`` is False, known by photos alone, without a LoRA. ``works`` is False
    when a training ended but did not raise the likeness, or was stopped before that could be known. If ``cancelled`` is
    true, the LoRA comes from a training that was stopped half-way. ``fault`` says in one sentence why this person
    can't be used; it is empty when all is well."""

    user_id: str
    folder: Path
    lora: Path
    reference: Path
    face_id: Path | None
    family: Family | None
    works: bool = True
    likeness: float | None = None
    embedder: str = ""
    scene: bool = False
    marks: dict[str, Any] | None = None
    cancelled: bool = False
    fault: str = ""
    trained: bool = True

    @property
    def former(self) -> tuple[str, ...]:
        """The user ids that this person had before. Portraits of that time still carry them."""
        names = dict.fromkeys(str(name) for name in (self.marks or {}).get("former") or ())
        return tuple(name for name in names if name != self.user_id)

    def photos(self) -> list[Path]:
        """Return the face crops that the person was trained on, or is known by."""
        return sorted(PersonFolder(self.folder).crops.glob("*.jpg"))

    def size(self) -> int:
        """Return how many bytes the files of this person have."""
        return listing.size([*listing.below(self.folder), self.lora])

    @property
    def reward(self) -> Path | None:
        """The small LoRA that the reward taught; None where none was kept."""
        said = (self.marks or {}).get("reward")
        path = PersonFolder(self.folder).reward
        return path if isinstance(said, dict) and said.get("accepted") is True and path.is_file() else None

    def require_whole(self) -> None:
        """Raise :class:`InvalidRequest` with the reason when this person can't be used."""
        if self.fault:
            raise InvalidRequest(self.fault)


@dataclass(frozen=True)
class Removed:
    """What a deletion removed: ``files`` counts the files and ``bytes`` their size; ``portraits`` are among them."""

    user_id: str
    files: int
    bytes: int
    uploads: int = 0
    portraits: tuple[Path, ...] = ()
    portraits_left: tuple[Path, ...] = ()

    def sentence(self) -> str:
        """Return what was done, as a sentence for the user."""
        text = Message(
            "{user_id} was deleted: {files} files of {size:.1f} MB",
            user_id=self.user_id,
            files=self.files,
            size=self.bytes / 2**20,
        )
        if self.portraits:
            text = Message("{text}, {count} portraits among them", text=text, count=len(self.portraits))
        if self.portraits_left:
            text = Message("{text}; {count} portraits were kept", text=text, count=len(self.portraits_left))
        return Message("{text}.", text=text)
