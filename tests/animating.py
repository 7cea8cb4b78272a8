"""A host that draws clips without a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from easyphoto.errors import AssetMissing
from easyphoto.ports import Checkpoint, ClipJob, Image, OnStep, RenderedClip
from tests.fakes import FakeHost, blank, draw_face


def with_face(job: ClipJob) -> list[Image]:
    return [draw_face(blank(240, 160), (100 + 4 * i, 80), 48, who=45) for i in range(job.frames)]


def empty(job: ClipJob) -> list[Image]:
    return [blank(240, 160, gray=100 + 10 * i) for i in range(job.frames)]


@dataclass
class AnimatingHost(FakeHost):
    """A host that draws clips: its module is the one of that name, or ``fake.ckpt``."""

    film: Callable[[ClipJob], list[Image]] = with_face
    clips: list[ClipJob] = field(default_factory=list)

    def motion_module(self, checkpoint: Checkpoint, wanted: str | Path | None = None) -> Path:
        if wanted == "none":
            raise AssetMissing("There is no motion module named none.")
        return Path(wanted or "fake.ckpt")

    def animate(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip:
        self.clips.append(job)
        if self.before is not None:
            self.before(job)
        for step in range(job.steps):
            if on_step is not None:
                on_step(step + 1, job.steps)
        return RenderedClip(self.film(job), job.seed)
