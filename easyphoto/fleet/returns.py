"""The head's side of what a worker sends where there is no shared folder: each file goes where it would have gone here.

A portrait is written once, under a name that is free here. A training's state lies in the person's folder as if the
training ran on this machine, so that it can go on on another, or here; the finished person is put in place as one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from easyphoto import events
from easyphoto.config import Paths
from easyphoto.errors import StorageFailed
from easyphoto.events import Started
from easyphoto.fleet import parcel
from easyphoto.fleet.parcel import Area, PackedFile, Told, Translation
from easyphoto.storage import earlier, files, locks
from easyphoto.storage.folders import EARLIER, PersonFolder
from easyphoto.storage.swap import PIECES, Swap


class Returns(Protocol):
    """Puts what comes with what is told in its place."""

    def take(self, told: Told) -> None:
        """Keep the files of ``told``. Raises :class:`StorageFailed`."""


class PortraitReturns:
    """Of a request for portraits, which ``there`` lie in that folder. ``translation`` learns how each is called
    here."""

    def __init__(self, paths: Paths, translation: Translation, there: str) -> None:
        self._paths, self._translation, self._there = paths, translation, there

    def take(self, told: Told) -> None:
        for piece in told.pieces:
            if piece.area is Area.PORTRAITS:
                wanted = parcel.place(self._paths, piece)
                part = files.staging_name(wanted)
                file = files.put_new(parcel.put_at(part, piece), wanted)
                self._translation.files[f"{self._there}/{piece.name}"] = str(file)
            elif parcel.place(self._paths, piece).parent.is_dir():  # what was seen of a person's photos
                parcel.put(self._paths, piece)


class TrainingReturns:
    """Of a training of ``person``. Used within :meth:`alone`."""

    def __init__(self, paths: Paths, person: PersonFolder) -> None:
        self._paths, self._person = paths, person
        self._anew = False
        self._came = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The person's job folder is this training's, in whatever process. What an interrupted training would go on
        from is put back when nothing came to go on from. Raises as :func:`locks.alone`."""
        job = self._person.job
        with locks.alone(job, self._person.name), _in_a_sentence(self._person):
            earlier.settle(job)
            try:
                yield
            finally:
                earlier.settle(job)

    def take(self, told: Told) -> None:
        with _in_a_sentence(self._person):
            self._begin(told.event)
            inside = [piece for piece in told.pieces if self._is_inside(piece)]
            outside = [piece for piece in told.pieces if not self._is_inside(piece)]
            if told.published:
                self._publish(outside)
            else:
                for piece in outside:
                    parcel.put(self._paths, piece)
            for piece in inside:
                parcel.put(self._paths, piece)
            if told.jobs is not None:
                self._settle(told.jobs, inside)

    def _begin(self, line: str) -> None:
        """A training that begins anew leaves what an earlier one would go on from aside, until it has a state."""
        event = events.from_json(line) if line else None
        if not isinstance(event, Started) or event.plan.get("from_step", 0):
            return
        self._anew = True
        job = self._person.job
        if job.state.exists():
            earlier.set_aside(job)
        else:
            for name in earlier.RESUMABLE:
                files.remove(job.path / name)

    def _settle(self, names: Sequence[str], came: Sequence[PackedFile]) -> None:
        """Files of the job that the worker has no more go here too, once this training has a state of its own."""
        job = self._person.job
        if any(parcel.place(self._paths, piece) == job.state for piece in came):
            self._came = True
            earlier.forget(job)
        if self._anew and not self._came:
            return
        kept = set(names)
        for path in parcel.in_job(self._person):
            name = path.relative_to(job.path).as_posix()
            if name not in kept and not name.startswith(f"{EARLIER}/"):
                files.remove(path)

    def _publish(self, outside: Sequence[PackedFile]) -> None:
        """Put the finished person in place, whole or not at all."""
        loras = self._paths.loras
        swap = Swap(self._person, loras / f"{self._person.name}.safetensors")
        try:
            for piece in outside:
                if piece.area is Area.LORAS:
                    part = loras / f".{self._person.name}.came{files.PART}"
                    try:
                        swap.put_lora(parcel.put_at(part, piece))
                    finally:
                        part.unlink(missing_ok=True)
                    continue
                inside = parcel.place(self._paths, piece).relative_to(self._person.path)
                top, rest = inside.parts[0], inside.parts[1:]
                parcel.put_at(swap.place(top).joinpath(*rest) if top in PIECES else self._person.path / inside, piece)
            swap.commit()
        finally:
            swap.discard()

    def _is_inside(self, piece: PackedFile) -> bool:
        """Whether a piece is of the job. :class:`StorageFailed` for one that is of somebody else."""
        file = parcel.place(self._paths, piece)
        theirs = (self._person.path, self._paths.loras / f"{self._person.name}.safetensors")
        if not any(file.is_relative_to(place) for place in theirs):
            raise StorageFailed("A worker sent a file {name!r}, which can't be kept under that name.", name=piece.name)
        return file.is_relative_to(self._person.job.path)


@contextlib.contextmanager
def _in_a_sentence(person: PersonFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            "{person_folder} could not be written: {reason}.",
            person_folder=person.name,
            reason=error.strerror or error,
        ) from error
