"""Between the chain and the host: a row of the plan becomes a job, the host's steps become progress, and a cancel ends
the work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from easyphoto.errors import Cancelled
from easyphoto.events import Listener, Notice, Progress
from easyphoto.families.spec import ControlRow, Feed, IdentityRow
from easyphoto.inference.identity import Appearance
from easyphoto.inference.plan import PassRow
from easyphoto.inference.previewing import Previewer
from easyphoto.messages import Message
from easyphoto.pace import Pace
from easyphoto.ports import (
    Checkpoint,
    ClipJob,
    ClipPainter,
    Control,
    ControlRole,
    Host,
    IdentityKind,
    Image,
    Img2Img,
    LoraRef,
    Mask,
    Rendered,
    Txt2Img,
)
from easyphoto.vision import geometry, masks


@dataclass(frozen=True)
class Words:
    """What a pass is given beside its row: prompts, LoRAs and seed, and what the person looks like where the pass shows
    one person."""

    prompt: str
    negative: str
    loras: tuple[LoraRef, ...]
    seed: int
    appearance: Appearance | None = None


@dataclass(frozen=True, eq=False)
class PassOrder:
    """A pass that the host is asked for. ``feeds`` holds the pictures of the controls."""

    row: PassRow
    image: Image
    mask: Mask | None
    feeds: Mapping[Feed, Image]
    words: Words


class Meter:
    """Counts the diffusion steps that are done and those that are still to come, and says how much time is left."""

    def __init__(
        self, listener: Listener, cancelled: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._cancelled = cancelled
        self._clock = clock
        # When the last step was reported, and its number. No pass is as long as this number, so the first step is new.
        self._last = (clock(), sys.maxsize)
        self._pace = Pace(warm_up=0)
        self._between = Pace(enough=1)
        self._done = 0.0
        self._expected = 0.0
        self._said: set[str] = set()
        self.previewer = Previewer(listener, clock)

    def expect(self, steps: float) -> None:
        """Count ``steps`` more as still to come; a negative number when some fell away."""
        self._expected += steps

    def stage(self, name: str) -> None:
        """Report that a stage begins which has no steps of its own."""
        self.check()
        self._listener(Progress(stage=name, seconds_left=self._left(self._done)))

    def check(self) -> None:
        """Raise :class:`Cancelled` when the user stopped the job."""
        if self._cancelled():
            raise Cancelled("Stopped.")

    def notice(self, message: str) -> None:
        """Give the user a message, unless it was given before."""
        if message not in self._said:
            self._said.add(message)
            self._listener(Notice(message=message))

    def step(self, stage: str, step: int, total: int, expected: float) -> None:
        """Report that ``step`` of ``total`` is done, in a pass that was expected to take ``expected`` steps."""
        self.check()
        self._measure(step, expected, max(total, 1))
        left = self._left(self._done + expected * step / max(total, 1))
        self._listener(Progress(stage=stage, step=step, total=total, seconds_left=left))

    def passed(self, expected: float) -> None:
        """Note that a pass is over which was expected to take ``expected`` steps."""
        self._done += expected

    def _measure(self, step: int, expected: float, total: int) -> None:
        """Learn from the time since the last step. The time before the first step of a pass (loading, fusing, decoding)
        is spread over the steps of the pass. The time before the very first pass is left out."""
        now, (last, before) = self._clock(), self._last
        if step == before or expected <= 0:
            return
        self._last = now, step
        if step > before:
            self._pace.took((now - last) * total / expected / (step - before))
        else:
            self._between.took((now - last) / expected)

    def _left(self, done: float) -> float | None:
        """How many seconds the steps after ``done`` will take; None while too little is known."""
        if 0 < done >= self._expected:
            return 0.0
        seconds = self._pace.seconds
        return None if seconds is None else (seconds + (self._between.seconds or 0.0)) * (self._expected - done)


class _Watcher:
    """Tells a meter the steps of one pass, which was expected to take ``expected`` steps, and shows its previews."""

    def __init__(self, meter: Meter, stage: str, expected: float) -> None:
        self._meter = meter
        self._stage = stage
        self._expected = expected

    def __call__(self, step: int, total: int) -> None:
        self._meter.step(self._stage, step, total, self._expected)

    def wants_preview(self) -> bool:
        return self._meter.previewer.wanted()

    def preview(self, picture: Image) -> None:
        self._meter.previewer.send(self._stage, picture)


class Painter:
    """Runs passes on one host, with one checkpoint."""

    def __init__(self, host: Host, checkpoint: Checkpoint, meter: Meter) -> None:
        self._host = host
        self._checkpoint = checkpoint
        self._meter = meter
        self._roles = host.controls(checkpoint.family)
        self._limit = host.control_limit()

    def repaint(
        self, row: PassRow, image: Image, mask: Mask | None, feeds: Mapping[Feed, Image], words: Words
    ) -> Image:
        """One pass over ``image``. ``feeds`` holds the pictures of the controls. Controls and identities that the host
        can't serve are left out with a notice."""
        controls, identities = self._possible(row.controls, row.identities if words.appearance is not None else ())
        job = Img2Img(
            prompt=_text(words.prompt),
            negative_prompt=_text(words.negative),
            width=image.shape[1],
            height=image.shape[0],
            steps=row.steps,
            sampler=row.sampler,
            cfg_scale=row.cfg_scale,
            seed=words.seed,
            loras=words.loras,
            controls=[Control(c.role, feeds[c.feed], c.weight) for c in controls],
            identities=[words.appearance.identity(i) for i in identities] if words.appearance is not None else (),
            checkpoint=self._checkpoint.name,
            image=image,
            denoising_strength=row.strength,
            mask=mask,
            mask_blur=row.mask_blur,
        )
        rendered = self._run(row.name.value, job, row.cost)
        return geometry.resize(rendered.image, (image.shape[0], image.shape[1]))

    def repaint_together(
        self, orders: Sequence[PassOrder], motion: str | Path | None, tell: Callable[[Progress], None]
    ) -> list[Image]:
        """One pass over the pictures of all ``orders``, the frames of a clip that want the same pass, by the motion
        module ``motion``; ``tell`` is given each step. The mask is the maximum over the frames, and all are worked on
        at the size of the first. The host is a :class:`ClipPainter`."""
        assert isinstance(self._host, ClipPainter)
        first = orders[0]
        row, words, size = first.row, first.words, (first.image.shape[0], first.image.shape[1])
        controls, _ = self._possible(row.controls)
        found = [geometry.resize_mask(order.mask, size) for order in orders if order.mask is not None]
        job = ClipJob(
            prompt=_text(words.prompt),
            negative_prompt=_text(words.negative),
            width=size[1],
            height=size[0],
            steps=row.steps,
            sampler=row.sampler,
            cfg_scale=row.cfg_scale,
            seed=words.seed,
            loras=words.loras,
            checkpoint=self._checkpoint.name,
            frames=len(orders),
            motion=motion or None,
            denoising_strength=row.strength,
            frame_controls=[[Control(c.role, order.feeds[c.feed], c.weight) for c in controls] for order in orders],
            pictures=[geometry.resize(order.image, size) for order in orders],
            mask=masks.union(*found) if len(found) == len(orders) else None,
            mask_blur=row.mask_blur,
        )

        def on_step(step: int, total: int) -> None:
            self._meter.check()
            tell(Progress(stage=row.name.value, step=step, total=total))

        self._meter.check()
        made = self._host.repaint_clip(job, on_step)
        if made.notice:
            self._meter.notice(made.notice)
        return [
            geometry.resize(frame, (order.image.shape[0], order.image.shape[1]))
            for frame, order in zip(made.frames, orders, strict=True)
        ]

    def draw(self, job: Txt2Img, identities: Sequence[IdentityRow] = (), appearance: Appearance | None = None) -> Image:
        """Make a picture from text. Controls, and ``identities`` of the person of that ``appearance``, that the host
        lacks are left out with a notice."""
        rows = [ControlRow(c.role, c.weight) for c in job.controls]
        possible, known = self._possible(rows, identities if appearance is not None else ())
        kept = [c for c in job.controls if c.role in {row.role for row in possible}]
        job = replace(
            job,
            prompt=_text(job.prompt),
            negative_prompt=_text(job.negative_prompt),
            controls=kept,
            identities=[appearance.identity(row) for row in known] if appearance is not None else (),
            checkpoint=self._checkpoint.name,
        )
        return self._run("text", job, job.steps).image

    def _run(self, stage: str, job: Txt2Img, expected: float) -> Rendered:
        self._meter.check()
        on_step = _Watcher(self._meter, stage, expected)
        rendered = self._host.img2img(job, on_step) if isinstance(job, Img2Img) else self._host.txt2img(job, on_step)
        self._meter.passed(expected)
        if rendered.notice:
            self._meter.notice(rendered.notice)
        return rendered

    def _possible(
        self, controls: Sequence[ControlRow], identities: Sequence[IdentityRow] = ()
    ) -> tuple[list[ControlRow], list[IdentityRow]]:
        """What the host can serve, as far as it has places: controls hold the picture together and come first."""
        there = self._served_controls(controls)
        places = self._host.identities(self._checkpoint.family) if identities else {}
        known = self._served_identities(identities, places)
        if any(row.kind is IdentityKind.IP_ADAPTER_FACE for row in known):
            # Both say how the skin looks: the original, too, gives the adapter the tile's place.
            there = [row for row in there if row.role is not ControlRole.TILE]
        count = len(there) + sum(places[row.kind] for row in known)
        if self._limit is None or count <= self._limit:
            return there, known
        self._meter.notice(
            Message(
                "The host allows {limit} ControlNet units and {count} are wanted: raise "
                '"Multi-ControlNet: ControlNet unit number" in Settings > ControlNet and restart the WebUI; the '
                "portrait is made without the others.",
                limit=self._limit,
                count=count,
            )
        )
        there, fitting = there[: self._limit], list[IdentityRow]()
        free = self._limit - len(there)
        for row in known:
            if places[row.kind] <= free:
                fitting.append(row)
                free -= places[row.kind]
        return there, fitting

    def _served_controls(self, controls: Sequence[ControlRow]) -> list[ControlRow]:
        if controls and self._limit == 0:
            self._meter.notice(
                Message(
                    "ControlNet is not there (not installed, or it failed to load: the WebUI's "
                    "log says why): the portrait is made without."
                )
            )
            return []
        missing = sorted({c.role.value for c in controls if c.role not in self._roles})
        if missing:
            family = self._checkpoint.family.value
            self._meter.notice(
                Message(
                    "There is no ControlNet model for {roles} ({family}): the portrait is made without.",
                    roles=", ".join(missing),
                    family=family,
                )
            )
        return [c for c in controls if c.role in self._roles]

    def _served_identities(
        self, identities: Sequence[IdentityRow], served: Mapping[IdentityKind, int]
    ) -> list[IdentityRow]:
        missing = sorted({row.kind.value for row in identities if row.kind not in served})
        if missing:
            self._meter.notice(
                Message(
                    "The host has no adapter for {kinds} ({family}): the portrait is made without. The Weights tab "
                    "says what it needs.",
                    kinds=", ".join(missing),
                    family=self._checkpoint.family.value,
                )
            )
        return [row for row in identities if row.kind in served]


def _text(prompt: str) -> str:
    """The prompt as every tokenizer can read it: half of a surrogate pair is replaced by a question mark."""
    return prompt.encode("utf-8", "replace").decode()
