"""A person's new pieces, put in place as one: the photos, crops, checkpoints, reference, marks and the LoRA.

All pieces are first written whole into a folder of their own, and the LoRA beside its place. One rename of that folder
decides that they count from now on; then each is moved to its place. A process that dies before the rename leaves the
person as it was. One that dies after it leaves work that :func:`mend` finishes; every reader of people calls it.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from easyphoto.errors import StorageFailed
from easyphoto.storage import files, names
from easyphoto.storage.folders import BACKUP, MARKS, PROCESSED, REFERENCE, WEIGHTS, PersonFolder
from easyphoto.storage.locks import holding

STAGING, READY, PLAN = "publish.staging", "publish.ready", "plan.json"
PIECES = (WEIGHTS, PROCESSED, BACKUP, REFERENCE, MARKS)
"""The pieces in the order in which they are put in place; the LoRA comes before the marks."""
_OLD = "old-"
_LOCK = ".publish.lock"
_PATIENCE = 30.0
"""How many seconds to wait for another process that puts pieces in place, which takes it a few renames."""


class Swap:
    """The new pieces of ``person``, whose LoRA lies at ``lora``. The caller must hold the person's lock.

    Write each piece to :meth:`place`, give the LoRA to :meth:`put_lora`, then call :meth:`commit`, or :meth:`discard`.
    """

    def __init__(self, person: PersonFolder, lora: Path) -> None:
        self._person, self._lora = person, lora
        self._part = files.staging_name(lora)
        mend(person, lora)
        files.write_json(self._staging / PLAN, {"lora": self._part.name})

    @property
    def _staging(self) -> Path:
        return self._person.path / STAGING

    def place(self, piece: str) -> Path:
        """Return where to write the new ``piece``, which is one of :data:`PIECES`."""
        assert piece in PIECES
        return self._staging / piece

    def put_lora(self, source: Path) -> None:
        """Copy the new LoRA beside its place. Raises :class:`StorageFailed`."""
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self._part)
        except OSError as error:
            raise files.not_written(self._lora, error) from error
        files.flush(self._part)

    def commit(self) -> None:
        """Put everything in place. Raises OSError or :class:`StorageFailed` when that fails: then nothing was changed,
        or the next :func:`mend` finishes it."""
        for path in self._staging.rglob("*"):
            if path.is_file():
                files.flush(path)
        self._staging.rename(self._person.path / READY)
        files.flush_folder(self._person.path)
        roll_forward(self._person, self._lora)

    def discard(self) -> None:
        """Remove the new pieces."""
        discard(self._person.path / STAGING, self._lora.parent)


def unfinished(person: PersonFolder) -> bool:
    """Return whether a process is publishing this person now, or died while it did."""
    return (person.path / READY).is_dir() or (person.path / STAGING).is_dir()


def mend(person: PersonFolder, lora: Path) -> None:
    """Finish what a process that died left: put the pieces that count in place, and remove the others. The caller must
    hold the person's lock. Raises OSError when the disk doesn't let it."""
    if (person.path / READY).is_dir():
        roll_forward(person, lora)
    if (person.path / STAGING).is_dir():
        discard(person.path / STAGING, lora.parent)


def ready(folder: Path, part: Path) -> None:
    """Note in ``folder``, which becomes a person's in one rename, that the LoRA of that person waits at ``part``."""
    files.write_json(folder / READY / PLAN, {"lora": part.name})


def roll_forward(person: PersonFolder, lora: Path) -> None:
    """Put the pieces that wait in their places, however many are there already. Any process that finds them may do it,
    one at a time."""
    waiting = person.path / READY
    with holding(person.path.parent / _LOCK, _PATIENCE):
        if not waiting.is_dir():
            return
        for piece in PIECES[:-1]:
            _settle(waiting, person.path, piece)
        part = _part(waiting, lora.parent)
        if part is not None and part.is_file():
            part.replace(lora)
        _settle(waiting, person.path, MARKS)
        files.flush_folder(person.path)
        files.remove(waiting)


def discard(staging: Path, loras: Path) -> None:
    """Remove a staging folder and the LoRA that waits for it."""
    part = _part(staging, loras)
    with contextlib.suppress(OSError):
        if part is not None:
            part.unlink(missing_ok=True)
        files.remove(staging)


def _settle(waiting: Path, folder: Path, piece: str) -> None:
    fresh, place = waiting / piece, folder / piece
    if fresh.is_dir():
        old = waiting / (_OLD + piece)
        if place.exists():
            files.remove(old)
            place.rename(old)
        fresh.rename(place)
    elif fresh.is_file():
        fresh.replace(place)


def _part(folder: Path, loras: Path) -> Path | None:
    try:
        name = str(files.read_json(folder / PLAN)["lora"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not name.startswith(".") or not name.endswith(files.PART) or set(name) & set(names.FORBIDDEN):
        raise StorageFailed(
            "The plan in {folder} of {parent} is damaged: delete that folder.",
            folder=folder.name,
            parent=folder.parent.name,
        )
    return loras / name
