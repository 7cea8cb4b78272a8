"""Says what a phase of a training is, and holds the one value that all phases of a training share.

A training is a list of phases. Each phase takes what earlier phases put into the :class:`Training`, does its part, and
puts what it made there for the later ones. :mod:`easyphoto.training.phases` has the list, and
:mod:`easyphoto.training.pipeline` runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from easyphoto.errors import Cancelled
from easyphoto.events import Listener, Notice
from easyphoto.ports import Vision
from easyphoto.storage import files
from easyphoto.storage.folders import JobFolder
from easyphoto.training.spec import TrainingSpec

T = TypeVar("T")

Stop = Callable[[], bool]
"""Whether somebody wants the training to end."""


class Training:
    """One training under way: what it was asked, how it speaks, and what its phases have made so far.

    The phases find one another's values by their type: ``training.put(Looked(...))``, later ``training[Looked]``.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        folder: Path,
        vision: Vision,
        emit: Listener,
        stop: Stop,
        leaves: tuple[str, ...] = (),
    ) -> None:
        """``folder`` is the folder of the job. ``leaves`` are the names of all that the phases write into it."""
        self.spec = spec
        self.job = JobFolder(folder)
        self.vision = vision
        self.emit = emit
        self.stop = stop
        self.marks: dict[str, Any] = {}
        """What a phase adds to the person's ``person.json`` when the training is published: plain JSON data."""
        self.attachments: dict[str, Path] = {}
        """The files that a phase adds to the person's folder of weights when the training is published, by name."""
        self._leaves = leaves
        self._values: dict[type, object] = {}

    @property
    def folder(self) -> Path:
        """The folder of the job."""
        return self.job.path

    def put(self, value: T) -> T:
        """Keep ``value`` for the phases that follow, and return it. It replaces an earlier value of the same type."""
        self._values[type(value)] = value
        return value

    def __getitem__(self, kind: type[T]) -> T:
        """Return the value of this type. Raises KeyError if no phase has put one."""
        return cast("T", self._values[kind])

    def get(self, kind: type[T]) -> T | None:
        """Return the value of this type, or None while no phase has put one."""
        return cast("T | None", self._values.get(kind))

    def drop(self, kind: type) -> None:
        """Let go of a large value that no later phase needs."""
        self._values.pop(kind, None)

    def notice(self, message: str) -> None:
        """Tell the user a sentence. It stops nothing."""
        self.emit(Notice(message=message))

    def end_if_asked(self) -> None:
        """Raise :class:`Cancelled` if somebody wants the training to end. A phase calls this often, so that it ends
        within a step."""
        if self.stop():
            raise Cancelled("The training was stopped.")

    def own(self, phase: Phase) -> Path:
        """Return the folder in which a phase that is not of the package keeps what it goes on from. The folder exists.

        It is moved aside, put back and removed together with the state of the training.
        """
        path = self.job.phase(phase.name)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def forget_earlier(self) -> None:
        """Remove all that the phases of an earlier training left in the job folder."""
        for name in self._leaves:
            files.remove(self.folder / name)
        files.remove(self.job.phases)


class Phase(ABC):
    """One part of a training.

    A killed training is run again from its first phase on, and a phase need not do again what it finds done on the
    disk. The docstring of each phase says what it leaves there and how it resumes.
    """

    name: ClassVar[str]
    """What the phase is called; no two phases of a training have the same name."""
    needs: ClassVar[tuple[type, ...]] = ()
    """The types of the values that the phase takes from the training."""
    makes: ClassVar[tuple[type, ...]] = ()
    """The types of the values that the phase puts into the training."""
    leaves: ClassVar[tuple[str, ...]] = ()
    """The names of what the phase writes into the job folder. A phase that is not of the package uses
    :meth:`Training.own` instead."""

    @abstractmethod
    def run(self, training: Training) -> None:
        """Do the phase's part. Raises errors of ``easyphoto.errors``, and :class:`Cancelled` within a step of being
        asked to end."""

    def leave(self, training: Training) -> None:  # noqa: B027 - most phases leave nothing
        """Put in order what shall stay when the training is cancelled in this phase or in a later one."""
