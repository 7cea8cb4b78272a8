"""What the desks of one program share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from easyphoto.config import Paths
from easyphoto.events import Listener
from easyphoto.people import PeopleStore
from easyphoto.ports import Host, Vision
from easyphoto.queue.durable import DurableQueue
from easyphoto.service.host_models import BaseModels
from easyphoto.service.requests import Preferences
from easyphoto.templates import TemplateStore

Interpreter: TypeAlias = Callable[[Listener, Callable[[], bool]], Path]


@dataclass(frozen=True, eq=False)
class Workplace:
    """The engine, the eyes, the folders and the queue of one program. ``python`` is as :class:`EasyPhoto` has it,
    ``device`` the torch device that trainings take, None for the best there is.

    ``comings`` is held while a job that needs a person is queued, and while a person is deleted: neither comes in
    between the other. ``new_weights`` is set when weights came that vision hasn't looked for yet.
    """

    host: Host
    vision: Vision
    paths: Paths
    python: Interpreter | None
    preferences: Callable[[], Preferences]
    people: PeopleStore
    templates: TemplateStore
    jobs: DurableQueue
    base_models: BaseModels
    device: str | None = None
    comings: threading.Lock = field(default_factory=threading.Lock)
    new_weights: threading.Event = field(default_factory=threading.Event)

    def prepare(self, emit: Listener, cancelled: Callable[[], bool]) -> None:
        """Make ready what a job sees with, before it looks at anything."""
        if self.python is not None:  # the vision worker runs there
            self.python(emit, cancelled)
        if self.new_weights.is_set():  # not while another job looks through the models that are loaded
            self.new_weights.clear()
            self.vision.release()

    def job_ids(self) -> set[str]:
        """The jobs that the queue knows, of whatever state."""
        return {job.id for job in self.jobs.list()}

    def is_queued(self, user_id: str) -> bool:
        """Whether a training of this person waits or runs."""
        return self.jobs.is_coming("train", user_id)
