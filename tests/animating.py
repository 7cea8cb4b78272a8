"""A host that draws clips without a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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

    def _drawn(self, job: ClipJob, on_step: OnStep | None) -> None:
        self.clips.append(job)
        if self.before is not None:
            self.before(job)
        for step in range(job.steps):
            if on_step is not None:
                on_step(step + 1, job.steps)

    def animate(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip:
        self._drawn(job, on_step)
        return RenderedClip(self.film(job), job.seed)


@dataclass
class RepaintingHost(AnimatingHost):
    """One that repaints the frames of a clip together too, each a little brighter under the mask."""

    def repaint_clip(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip:
        self._drawn(job, on_step)
        assert job.mask is not None
        brighter = (np.clip(picture + 12 * job.mask[..., None], 0, 255) for picture in job.pictures)
        return RenderedClip([np.asarray(np.rint(frame), np.uint8) for frame in brighter], job.seed)
