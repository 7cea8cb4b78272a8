"""The people who were trained: which names are allowed, where their files lie, and how a person comes and goes."""

from __future__ import annotations

import json
import shutil
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from easyphoto import likeness
from easyphoto.config import Family, Paths
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed

FORBIDDEN = '\\/:*?"<>|'
RESERVED = {"none", "con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))}
MAX_CHARACTERS = 64
MAX_BYTES = 180
MARKS = "person.json"
REFERENCE = "ref_image.jpg"


def user_id(text: str) -> str:
    """The name as it is used, NFC-normalised and trimmed.

    Any script is welcome; what can't be a file name on some system, or could lead out of the folder, is refused with
    :class:`InvalidRequest`.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name:
        raise InvalidRequest("The user id is empty: type a name for this person.")
    bad = sorted({c for c in name if c in FORBIDDEN or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")})
    if bad:
        shown = " ".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in bad)
        raise InvalidRequest(f"The user id may not contain {shown}.")
    if name.startswith(".") or name.endswith("."):
        raise InvalidRequest("The user id may not begin or end with a dot.")
    if name.split(".")[0].casefold().rstrip() in RESERVED:
        raise InvalidRequest(f"The user id {name!r} is a reserved word: choose another.")
    if len(name) > MAX_CHARACTERS or len(name.encode()) > MAX_BYTES:
        raise InvalidRequest(f"The user id is too long: at most {MAX_CHARACTERS} characters.")
    return name


@dataclass(frozen=True)
class Person:
    """One trained identity. ``works`` is False when training ended but did not bring the likeness up."""

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

    def photos(self) -> list[Path]:
        """The face crops that the person was trained on."""
        return sorted((self.folder / "processed_images" / "train").glob("*.jpg"))


class PeopleStore:
    """People in the folders of ``paths``; what was trained with the original extension is found too."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def folder(self, name: str) -> Path:
        """Where this person's files lie, whether there are any or not."""
        return self._paths.people / user_id(name)

    def lora(self, name: str) -> Path:
        return self._paths.loras / f"{user_id(name)}.safetensors"

    def list(self) -> list[Person]:
        """Everybody with a reference picture and a LoRA, by name."""
        if not self._paths.people.is_dir():
            return []
        found = (self._read(folder) for folder in sorted(self._paths.people.iterdir()) if folder.is_dir())
        return [person for person in found if person is not None]

    def get(self, name: str) -> Person:
        """The person of that name; :class:`NotFound` when there is none."""
        person = self._read(self.folder(name))
        if person is None:
            raise NotFound(f"There is no trained person {name!r}: train one or check the name.")
        return person

    def delete(self, name: str) -> None:
        """Remove all that is theirs: photos, crops, checkpoints, LoRA, reports. :class:`NotFound` if there is none."""
        folder, lora = self.folder(name), self.lora(name)
        if not folder.exists() and not lora.exists():
            raise NotFound(f"There is no person {name!r}.")
        try:
            lora.unlink(missing_ok=True)
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise StorageFailed(f"Not everything of {name!r} could be deleted: {error.strerror}.") from error

    def export(self, name: str, file: Path) -> None:
        """Pack what generating needs (reference, best picture, crops, marks, LoRA) into a zip file."""
        person = self.get(name)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.write(person.lora, "lora.safetensors")
            archive.writestr("user_id.txt", person.user_id)
            for path in sorted(p for p in person.folder.rglob("*") if p.is_file()):
                inside = path.relative_to(person.folder)
                if inside.parts[0] in ("original_backup", "job") or path.name.startswith("checkpoint-"):
                    continue
                archive.write(path, str(PurePosixPath("files", *inside.parts)))

    def bring(self, file: Path) -> Person:
        """Unpack what :meth:`export` packed; a person of that name must not be there yet."""
        try:
            with zipfile.ZipFile(file) as archive:
                name = user_id(archive.read("user_id.txt").decode())
                folder = self.folder(name)
                if folder.exists() or self.lora(name).exists():
                    raise InvalidRequest(f"There is already a person {name!r}: delete that one first.")
                members = [n for n in archive.namelist() if n.startswith("files/") and not n.endswith("/")]
                if any(".." in PurePosixPath(n).parts or "\\" in n or ":" in n for n in members):
                    raise InvalidRequest(f"{file.name} holds a path that leads outside and was not unpacked.")
                for inside in members:
                    target = folder.joinpath(*PurePosixPath(inside).parts[1:])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(inside))
                self.lora(name).parent.mkdir(parents=True, exist_ok=True)
                self.lora(name).write_bytes(archive.read("lora.safetensors"))
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{file.name} is not a person that was exported from here.") from error
        return self.get(name)

    def _read(self, folder: Path) -> Person | None:
        reference, lora = folder / REFERENCE, self._paths.loras / f"{folder.name}.safetensors"
        marks = _marks(folder / MARKS)
        scene = bool(marks.get("scene"))
        if not lora.is_file() or not (reference.is_file() or scene):
            return None
        best = sorted((folder / "user_weights" / "best_outputs").glob("*.[jp][pn]g"))
        family = marks.get("family")
        return Person(
            user_id=folder.name,
            folder=folder,
            lora=lora,
            reference=reference,
            face_id=best[0] if best else None,
            family=Family(family) if family in {f.value for f in Family} else None,
            works=bool(marks.get("works", True)),
            likeness=_likeness(marks.get("likeness")),
            embedder=str(marks.get("embedder", "")),
            scene=scene,
            marks=marks,
        )


def _likeness(value: object) -> float | None:
    """The likeness that was written down; older trainings wrote numbers beyond the scale."""
    return likeness.clipped(float(value)) if isinstance(value, int | float) else None


def _marks(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
