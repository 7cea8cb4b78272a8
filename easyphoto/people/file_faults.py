"""What is wrong with a person's files, found by looking into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from easyphoto import checkpoint, pictures
from easyphoto.errors import EasyPhotoError
from easyphoto.messages import Message
from easyphoto.people.person import Person

GLANCE = 64
"""The side, in pixels, to which a picture is shrunk when it is only looked at whether it is whole."""


class Faults:
    """Looks into the files of people, into each once for each state that it has had."""

    def __init__(self) -> None:
        self._looked: dict[tuple[Path, int, int], str] = {}

    def of(self, person: Person) -> str:
        """Return what is wrong with the person's files, as one sentence; empty when all is well."""
        name = person.user_id
        if person.trained and not person.lora.is_file():
            return Message("{name} can't be used: the LoRA {lora} is gone.", name=name, lora=person.lora.name)
        if person.trained and (fault := self._look(person.lora, _lora_fault)):
            return Message("The LoRA of {name} can't be used: {fault}", name=name, fault=fault)
        if not person.reference.is_file():
            return "" if person.scene else Message("{name} can't be used: the reference picture is gone.", name=name)
        if fault := self._look(person.reference, _picture_fault):
            return Message("The reference picture of {name} can't be used: {fault}", name=name, fault=fault)
        return ""

    def _look(self, path: Path, look: Callable[[Path], str]) -> str:
        try:
            stat = path.stat()
            at = (path, stat.st_size, stat.st_mtime_ns)
            if at not in self._looked:
                self._looked[at] = look(path)
            return self._looked[at]
        except OSError as error:
            return f"{error.strerror or error}."


def _lora_fault(path: Path) -> str:
    try:
        info = checkpoint.inspect(path)
    except EasyPhotoError as error:
        return error.message
    return "" if info.kind == "lora" else Message("{path} is a {kind}, not a LoRA.", path=path.name, kind=info.kind)


def _picture_fault(path: Path) -> str:
    try:
        pictures.load(path, max_side=GLANCE)
    except EasyPhotoError as error:
        return error.message
    return ""
