"""Where people are kept: who there is, and how a person comes and goes.

One function both lists people and looks them up, and a name means the person who is stored under exactly that name: on
no file system, and by no spelling, does it lead to another person.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from easyphoto import families
from easyphoto import likeness as scale
from easyphoto.config import Paths
from easyphoto.errors import EasyPhotoError, InvalidRequest, NotFound, StorageFailed
from easyphoto.messages import Message
from easyphoto.people import arrivals, marks
from easyphoto.people.file_faults import Faults
from easyphoto.people.person import Person, Removed
from easyphoto.storage import archive, elsewhere, files, locks, names, scratch, swap
from easyphoto.storage.folders import REWARDS, STAGED, WEIGHTS, PersonFolder, reward_name
from easyphoto.storage.names import user_id

_IMPORTING, _DELETING = ".import-", ".delete-"
"""The beginnings of the names of folders that are being imported or deleted; a folder whose name begins with a dot is
no person's."""


class PeopleStore:
    """The people in the folders of ``paths``; those who were trained with the original extension are found too."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._faults = Faults()

    # --- names -------------------------------------------------------------------------------------------------------

    def at(self, name: str) -> PersonFolder:
        """Return the folder of exactly that name or, where there is none, the one that a new person of that name
        gets."""
        return PersonFolder(self.paths.people / (name if name in self._stored() else user_id(name)))

    def folder(self, name: str) -> Path:
        """Return where this person's files lie, whether there are any or not."""
        return self.at(name).path

    def lora(self, name: str) -> Path:
        return self.paths.loras / f"{self.at(name).name}.safetensors"

    def to_train(self, name: str) -> str:
        """Return the user id that a training of ``name`` gets. Raises :class:`InvalidRequest` when the name can't be a
        user id, when somebody is stored under a name that some file system takes for it, and when the file that the
        training would write is there already and belongs to nobody here: such a LoRA may have come from anywhere."""
        stored = self._stored()
        wanted = name if name in stored else user_id(name)
        other = None if wanted in stored else names.alike(wanted, stored)
        if other is not None:
            raise InvalidRequest(
                "The user id {wanted!r} is too much like {other!r}, which is there: choose another.",
                wanted=wanted,
                other=other,
            )
        if wanted not in stored:
            self._refuse_former(wanted)
        taken = self._lora_like(wanted)
        if taken is not None and (wanted not in stored or self._read(wanted) is None):
            raise InvalidRequest(
                "There is a LoRA {file} already that no training made here: choose another user id than {wanted!r}, "
                "or move that file away.",
                file=taken.name,
                wanted=wanted,
            )
        return wanted

    # --- who there is ------------------------------------------------------------------------------------------------

    def list(self) -> list[Person]:
        """Return everybody who was trained, by name; those whose files are damaged too, with their ``fault``."""
        return [person for name in self._stored() if (person := self._read(name)) is not None]

    def stopped(self) -> Sequence[str]:
        """Return the names of everybody whose training was stopped and has left a state to go on from."""
        return [n for n in self._stored() if PersonFolder(self.paths.people / n).job.state.is_file()]

    def get(self, name: str) -> Person:
        """Return the person who is stored under exactly that name. Raises :class:`NotFound` when there is none."""
        stored = self._stored()
        person = self._read(name) if name in stored else None
        if person is None:
            raise self._nobody(name, stored)
        return person

    # --- coming and going --------------------------------------------------------------------------------------------

    def delete(self, name: str) -> Removed:
        """Remove all that is this person's in their folder, and the LoRA: photos, crops, checkpoints, reports.

        Raises :class:`NotFound` if there is nobody of exactly that name, and :class:`InvalidRequest` while they are
        being trained.
        """
        stored = self._stored()
        if name not in stored:
            raise self._nobody(name, stored)
        person, lora = PersonFolder(self.paths.people / name), self.paths.loras / f"{name}.safetensors"
        # A LoRA beside a training that never came to its end, or beside somebody without one, may be anybody's.
        found_there = self._read(name)
        theirs = [lora] if found_there is not None and found_there.trained and _is_there(lora) else []
        theirs += [path for path in [self.paths.loras / REWARDS / reward_name(name)] if _is_there(path)]
        called = _loras_of(name, *(found_there.former if found_there is not None else ()))
        theirs += elsewhere.places(called, self.paths.loras)
        try:
            with scratch.Scratch(self.paths.people, _DELETING) as bin_, ExitStack() as held:
                held.enter_context(self._undisturbed(person))
                found = [p for p in (*_files_in(person.path), *theirs) if p.is_file() or p.is_symlink()]
                size = sum(p.lstat().st_size for p in found)
                if swap.unfinished(person):
                    swap.mend(person, lora)
                if os.name == "nt":
                    held.close()  # there a folder with an open file, the lock, can't be moved
                _remove_whole(person.path, bin_.path / "person", theirs)
                elsewhere.forget(called, self.paths.loras)
        except OSError as error:
            raise StorageFailed(
                "Not everything of {name!r} could be deleted: {reason}.", name=name, reason=error.strerror or error
            ) from error
        return Removed(name, len(found), size)

    def rename(self, name: str, to: str) -> Person:
        """Give a person another user id; the old one stays theirs, and nobody else can get it. Returns the person.

        Raises :class:`NotFound` if there is nobody of exactly that name, and :class:`InvalidRequest` while they are
        being trained, as long as a stopped training of theirs can go on, and when the new name can't be had.
        """
        person, wanted = self.get(name), user_id(to)
        home = PersonFolder(person.folder)
        if wanted == name:
            return person
        self._refuse_known(wanted, but=name)
        with self._undisturbed(home):
            if home.job.state.is_file():
                raise InvalidRequest(
                    "A training of {name!r} was stopped and can go on: finish it before you rename them.", name=name
                )
            try:
                self._move(person, home, wanted)
            except OSError as error:
                raise StorageFailed(
                    "{name!r} can't be renamed: {reason}.", name=name, reason=error.strerror or error
                ) from error
        return self.get(wanted)

    def _move(self, person: Person, home: PersonFolder, wanted: str) -> None:
        """Move a person to the name ``wanted``. The LoRA waits beside its place, so that whoever finds the folder under
        either name, also after a crash, puts it in its place."""
        old, moved = person.user_id, PersonFolder(self.paths.people / wanted)
        files.write_json(home.marks, {**(person.marks or {}), "former": [*person.former, old]})
        lora = self.paths.loras / f"{wanted}.safetensors"
        if person.trained and person.lora.is_file():
            part = files.staging_name(lora)
            swap.ready(home.path, part)
            files.move(person.lora, part)
        home.path.rename(moved.path)
        files.flush_folder(self.paths.people)
        swap.mend(moved, lora)
        taught = moved.path / WEIGHTS / reward_name(old)
        if taught.is_file():
            taught.rename(moved.reward)
        if _is_there(second := self.paths.loras / REWARDS / reward_name(old)):
            second.rename(second.with_name(reward_name(wanted)))

    def export(self, name: str, file: Path) -> None:
        """Pack what is needed to make portraits (reference, best picture, crops, marks, and the LoRA of whoever was
        trained) into a zip file.

        The file appears whole or not at all. Raises :class:`InvalidRequest` when the person is damaged, and
        :class:`StorageFailed` when the file can't be written.
        """
        person = self.get(name)
        person.require_whole()
        archive.write(file, person.user_id, person.folder, person.lora if person.trained else None)

    def bring(self, file: Path) -> Person:
        """Unpack what :meth:`export` packed; nobody of that name may be there yet.

        The content of the file is checked before any of it is where a person lies. A file that is refused, for whatever
        reason, leaves everything as it was.
        """
        with archive.reading(file) as shared:
            name = shared.user_id
            if not shared.trained:
                with self.arriving(name) as folder:
                    arrivals.unpack(shared, file, PersonFolder(folder))
                return self.get(name)
            self._refuse_known(name)
            self._sweep()
            with scratch.Scratch(self.paths.people, _IMPORTING) as stage:
                arrivals.unpack(shared, file, PersonFolder(stage.path))
                self._settle(stage.path, name)
        return self.get(name)

    @contextmanager
    def arriving(self, name: str) -> Iterator[Path]:
        """A folder that becomes the folder of a new person when the block ends, in one rename; where it ends by an
        error, nothing is left. Nobody of that name may be there yet."""
        wanted = user_id(name)
        self._refuse_known(wanted)
        self._sweep()
        with scratch.Scratch(self.paths.people, _IMPORTING) as stage:
            yield stage.path
            try:
                for path in _files_in(stage.path):
                    files.flush(path)
                self._refuse_known(wanted)
                stage.path.rename(self.paths.people / wanted)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise self._known(wanted) from error
                raise files.not_written(self.paths.people / wanted, error) from error
            files.flush_folder(self.paths.people)

    def _settle(self, stage: Path, name: str) -> None:
        """Make the staging folder the person's, in one rename. The LoRA waits beside its place and follows."""
        lora = self.paths.loras / f"{name}.safetensors"
        part = files.staging_name(lora)
        try:
            swap.ready(stage, part)
            part.parent.mkdir(parents=True, exist_ok=True)
            files.move(stage / archive.LORA, part)
            for path in _files_in(stage):
                files.flush(path)
            files.flush(part)
            self._refuse_known(name)
            stage.rename(self.paths.people / name)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise self._known(name) from error
            raise files.not_written(self.paths.people / name, error) from error
        files.flush_folder(self.paths.people)
        try:
            swap.mend(PersonFolder(self.paths.people / name), lora)
        except OSError as error:
            raise files.not_written(lora, error) from error

    def _refuse_known(self, name: str, but: str = "") -> None:
        """Raise :class:`InvalidRequest` when the name is taken, by anybody other than ``but``."""
        stored = [there for there in self._stored() if there != but]
        other = name if name in stored else names.alike(name, stored)
        taken = self._lora_like(name)
        own = bool(but) and taken is not None and taken.name == f"{but}.safetensors"
        if other is not None or (taken is not None and not own):
            raise self._known(other or name)
        self._refuse_former(name, but)

    def _refuse_former(self, name: str, but: str = "") -> None:
        """Raise :class:`InvalidRequest` when somebody other than ``but`` was called so: portraits with that name show
        them."""
        for person in self.list():
            had = name in person.former or names.alike(name, person.former) is not None
            if had and person.user_id != but:
                raise InvalidRequest(
                    "{other!r} was called {name!r} before: choose another user id.", other=person.user_id, name=name
                )

    def _lora_like(self, name: str) -> Path | None:
        """Return the file that is the LoRA of ``name``, or that some file system takes for it; None where there is
        none."""
        wanted = names.key(f"{name}.safetensors")
        try:
            return next((path for path in self.paths.loras.iterdir() if names.key(path.name) == wanted), None)
        except OSError:
            return None

    @staticmethod
    def _known(name: str) -> InvalidRequest:
        return InvalidRequest("There is already a person {name!r}: delete that one first.", name=name)

    @contextmanager
    def _undisturbed(self, person: PersonFolder) -> Iterator[None]:
        """Keep trainings of the person from running inside the block."""
        busy = InvalidRequest("{person!r} is being trained: cancel that training first.", person=person.name)
        if not person.job.path.is_dir() or person.path.is_symlink():
            yield
            return
        # One that still reads its photos holds its staging folder, and nothing else yet.
        if locks.busy(person.job) or scratch.living(person.job.path, STAGED):
            raise busy
        with locks.alone(person.job, person.name):
            yield

    # --- reading -----------------------------------------------------------------------------------------------------

    def _stored(self) -> Sequence[str]:
        """Return the names that are stored, as they are spelt on the disk."""
        people = self.paths.people
        try:
            entries = sorted(people.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StorageFailed(
                "The folder {people} can't be read: {reason}.", people=people.name, reason=error.strerror or error
            ) from error
        if any(entry.name.startswith((_IMPORTING, _DELETING)) for entry in entries):
            self._sweep()
        return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]

    def _sweep(self) -> None:
        """Remove what imports and deletions left whose process has ended, and the LoRAs that waited for them."""
        scratch.sweep(self.paths.people, _DELETING)
        for folder in scratch.abandoned(self.paths.people, _IMPORTING):
            swap.discard(folder / swap.READY, self.paths.loras)
        scratch.sweep(self.paths.people, _IMPORTING)

    @staticmethod
    def _nobody(name: str, stored: Sequence[str]) -> NotFound:
        """Return the error for a name that nobody has. Raises :class:`InvalidRequest` when nobody could have it."""
        user_id(name)
        other = names.alike(name, stored)
        if other is not None:
            return NotFound(
                "There is no person {name!r}; {other!r} is there, who is spelt otherwise.", name=name, other=other
            )
        return NotFound("There is no trained person {name!r}: train one or check the name.", name=name)

    def _read(self, name: str) -> Person | None:
        """Return the person of a stored name; None where nobody was ever trained. It never fails, whatever lies
        there."""
        home = PersonFolder(self.paths.people / name)
        lora = self.paths.loras / f"{name}.safetensors"
        plain = Person(name, home.path, lora, home.reference, face_id=None, family=None)
        try:
            self._mend(home, lora)
            there = (lora.is_file(), home.reference.is_file(), home.marks.is_file())
            scene_marks = marks.of_scene(lora) if there[0] and not there[2] else {}
            if sum(there) < 2 and not scene_marks:
                # A LoRA alone may be anybody's, and a picture alone is a training that never came to its end.
                return None
            try:
                said = marks.read(home.marks) or scene_marks
            except InvalidRequest as error:
                return replace(
                    plain, works=False, fault=Message("{name} can't be used: {error}", name=name, error=error)
                )
            best = sorted(home.best.glob("*.[jp][pn]g"))
        except (OSError, EasyPhotoError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            return replace(
                plain,
                works=False,
                fault=Message("The files of {name} can't be read: {reason}.", name=name, reason=reason).replace(
                    "..", "."
                ),
            )
        family, likeness = said.get("family"), said.get("likeness")
        cancelled = bool(said.get("cancelled"))
        person = replace(
            plain,
            face_id=best[0] if best else None,
            family=families.named(family) if family in {f.family for f in families.known()} else None,
            works=bool(said.get("works", True)) and not (cancelled and likeness is None),
            likeness=None if likeness is None else scale.clipped(float(likeness)),
            embedder=str(said.get("embedder", "")),
            scene=bool(said.get("scene")),
            marks=said,
            cancelled=cancelled,
            trained=bool(said.get("trained", True)),
        )
        return replace(person, fault=self._faults.of(person))

    @staticmethod
    def _mend(home: PersonFolder, lora: Path) -> None:
        """Finish what a publishing process that died left."""
        if (home.path / swap.READY).is_dir():
            swap.roll_forward(home, lora)
        if (home.path / swap.STAGING).is_dir() and not locks.busy(home.job):
            swap.mend(home, lora)


def _remove_whole(folder: Path, aside: Path, files_beside: Sequence[Path]) -> None:
    """Remove a folder and some files. The folder is first moved ``aside``, so that nobody finds half of it, or puts
    anything into it, meanwhile. What can't be removed is put back in its place. Raises OSError."""
    folder.rename(aside)
    try:
        for path in files_beside:
            files.remove(path)
        files.remove(aside)
    except OSError:
        with contextlib.suppress(OSError):
            aside.rename(folder)
        raise


def _is_there(path: Path) -> bool:
    """Return whether a file of exactly this name is there: some file systems find it under other names too."""
    try:
        return any(entry.name == path.name for entry in path.parent.iterdir())
    except OSError:
        return False


def _loras_of(*user_ids: str) -> list[str]:
    """What the LoRAs of people are called, and those that the reward taught."""
    return [file for name in user_ids for file in (f"{name}.safetensors", reward_name(name))]


def _files_in(folder: Path) -> list[Path]:
    return [] if folder.is_symlink() else [p for p in folder.rglob("*") if p.is_symlink() or p.is_file()]
