"""Pictures on the card: single passes with controls, whole portraits, and the plans for small memories."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.card.setting import Setting
from easyphoto import checkpoint, memory
from easyphoto.config import Family, PortraitConfig
from easyphoto.errors import EasyPhotoError
from easyphoto.events import Event, Notice, TemplateFailed
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask, Subject
from easyphoto.ports import Checkpoint, Control, ControlRole, Image, Img2Img, LoraRef, OnStep, Rendered
from tests.fakes import FakeVision, blank, draw_face

TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
CONTROLS = (ControlRole.CANNY, ControlRole.TILE)
STEPS = 20
BUDGETS = (24, 16, 12, 8)
"""The made-up memories in GB."""


@dataclass
class StepClock:
    """Measures a picture: when the first and the last step ended, and how many there were."""

    setting: Setting
    times: list[float] = field(default_factory=list)

    def __call__(self, step: int, total: int) -> None:
        self.setting.sync()
        self.times.append(time.perf_counter())

    def per_step(self) -> float:
        """The seconds between two steps (median)."""
        gaps = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        return statistics.median(gaps) if gaps else 0.0


class BudgetedHost(EmbeddedHost):
    """A host whose budget can be changed, so that its models are loaded once."""

    def within(self, gigabytes: float | None) -> None:
        """Give the host so much of the memory (None: all of it), and move all its models off the device."""
        self._budget = None if gigabytes is None else round(gigabytes * 1e9)
        self._held().placement.keep_only()


def host_of(setting: Setting, family: Family, precision: str) -> BudgetedHost:
    """Return the host of the setting, which keeps its models from one part of the check to the next."""
    return setting.kept(
        ("host", family, precision),
        lambda: BudgetedHost(setting.paths, FakeVision(), device=setting.device, dtype=TYPES[precision]),
    )


class TimedHost:
    """A host that notes how long its pictures and their steps took."""

    def __init__(self, inner: EmbeddedHost, setting: Setting) -> None:
        self._inner, self._setting = inner, setting
        self.pictures: list[dict[str, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        clock = StepClock(self._setting)

        def both(step: int, total: int) -> None:
            clock(step, total)
            if on_step is not None:
                on_step(step, total)

        begin = time.perf_counter()
        rendered = self._inner.img2img(job, both)
        took = time.perf_counter() - begin
        self.pictures.append(
            {
                "width": job.width,
                "height": job.height,
                "seconds": took,
                "steps": len(clock.times),
                "step": clock.per_step(),
            }
        )
        return rendered


def template(side: int) -> Image:
    """A picture of a square with one played face in it."""
    return draw_face(blank(side, side), (side / 2, side * 0.45), side / 3, who=40)


def job(setting: Setting, family: Family, side: int, **more: Any) -> Img2Img:
    """A repainting with two controls in which every step is done."""
    face = template(side)
    values: dict[str, Any] = {
        "prompt": "a photo of a person",
        "negative_prompt": "dark",
        "width": side,
        "height": side,
        "steps": STEPS if setting.on_card else 3,
        "seed": 3,
        "sampler": "Euler",
        "cfg_scale": 7.0,
        "checkpoint": setting.checkpoint(family).stem,
        "denoising_strength": 1.0,
        "controls": [Control(role, face, 0.5) for role in CONTROLS],
        **more,
    }
    return Img2Img(image=face, **values)


def passes(setting: Setting, family: Family) -> dict[str, Any]:
    """Repaint pictures of each size in each precision; the first of a host also loads the model."""
    setting.controlnets(family)
    side = setting.side(family)
    told: dict[str, Any] = {}
    for precision in reversed(setting.precisions()):
        host = host_of(setting, family, precision)
        for size in sorted({side, 64 if setting.tiny else 1024}):
            setting.clear()
            runs = [_timed(setting, host, job(setting, family, size)) for _ in range(3)]
            warm = runs[1:]
            seconds = statistics.median(run["seconds"] for run in warm)
            step = statistics.median(run["step"] for run in warm)
            steps = warm[0]["steps"]
            planned = memory.rendering(family, width=size, height=size, controls=len(CONTROLS), precision=precision)
            told[f"{precision} {size}"] = {
                "first_seconds": round(runs[0]["seconds"], 3),
                "seconds": round(seconds, 3),
                "step_seconds": round(step, 4),
                "steps": steps,
                "share_outside_steps": round(1 - step * steps / seconds, 3),
                "spread_of_pixels": warm[-1]["pixels"],
                "planned_gb": round(planned.total / 1e9, 3),
                **setting.peaks(),
            }
    return told


def _timed(setting: Setting, host: EmbeddedHost, asked: Img2Img) -> dict[str, Any]:
    clock = StepClock(setting)
    setting.sync()
    begin = time.perf_counter()
    rendered = host.img2img(asked, clock)
    setting.sync()
    return {
        "seconds": time.perf_counter() - begin,
        "step": clock.per_step(),
        "steps": len(clock.times),
        "pixels": round(float(rendered.image.std()), 1),
        "notice": rendered.notice,
    }


def portraits(setting: Setting, family: Family) -> dict[str, Any]:
    """Make three portraits by the whole chain with played vision; the first puts the LoRA on, and loads the model if no
    part before it did. They wear the LoRA of the training where that part has run before."""
    setting.controlnets(family)
    inner = host_of(setting, family, setting.precisions()[0])
    told: dict[str, Any] = {}
    for name in ("first", "warm", "again")[: 1 if setting.tiny else 3]:
        host, notices = TimedHost(inner, setting), _Notices()
        setting.clear()
        begin = time.perf_counter()
        made = list(portray(_task(setting, family), host, FakeVision(faces=1), notices))
        setting.sync()
        seconds = time.perf_counter() - begin
        drawn = sum(one["seconds"] for one in host.pictures)
        stepped = sum(one["step"] * one["steps"] for one in host.pictures)
        told[name] = {
            "portraits": len(made),
            "seconds": round(seconds, 3),
            "share_outside_host": round(1 - drawn / seconds, 3),
            "share_outside_steps": round(1 - stepped / seconds, 3),
            "passes": [{key: round(value, 4) for key, value in one.items()} for one in host.pictures],
            "notices": notices.words,
            **setting.peaks(),
        }
    return told


class _Notices:
    """Keeps what a user would read beside the portraits."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice | TemplateFailed):
            self.words.append(str(event.message))


def _task(setting: Setting, family: Family) -> PortraitTask:
    path = setting.checkpoint(family)
    lora = setting.paths.loras / f"person-{family.value}.safetensors"
    face = draw_face(blank(512, 512), (256, 240), 200, who=20)
    person = Subject(
        user_id="person", lora=lora if lora.is_file() else None, reference=face, face_id=face[:, ::-1].copy()
    )
    side = setting.side(family) + setting.side(family) // 4
    steps = {"first_diffusion_steps": 3, "second_diffusion_steps": 4} if setting.tiny else {}
    return PortraitTask(
        templates=(template(side),),
        people=(person,),
        config=PortraitConfig(seed=7, **steps),
        checkpoint=Checkpoint(path.stem, path, checkpoint.inspect(path).family),
        lora_folder=setting.paths.loras,
        keep_stages=False,
    )


def plans(setting: Setting, family: Family) -> dict[str, Any]:
    """Draw within made-up memories, and compare the peaks with the plans."""
    setting.controlnets(family)
    precision = setting.precisions()[0]
    host = host_of(setting, family, precision)
    host.img2img(job(setting, family, 64, steps=1))
    told: dict[str, Any] = {}
    for size in sorted({setting.side(family), 64 if setting.tiny else 1024}):
        for budget in BUDGETS:
            plan = memory.plan_rendering(
                family,
                width=size,
                height=size,
                controls=len(CONTROLS),
                precision=precision,
                available=round(budget * 1e9),
            )
            host.within(budget)
            setting.clear()
            with setting.limited(budget):
                try:
                    run: Mapping[str, Any] = _timed(setting, host, job(setting, family, size, steps=4))
                    outcome = {"seconds": round(run["seconds"], 3)}
                except EasyPhotoError as error:
                    outcome = {"error": str(error)}
            told[f"{size} in {budget} GB"] = {
                "planned_gb": round(plan.need.total / 1e9, 3),
                "fits": plan.fits,
                "changes": list(map(str, plan.changes)),
                **outcome,
                **setting.peaks(),
            }
    host.within(None)
    setting.clear()
    return told


def profiled(setting: Setting, family: Family) -> tuple[dict[str, Any], str]:
    """Profile a warm repainting; the table has the operations in the order of the time that they take."""
    from benchmarks.card.profiling import profile

    setting.controlnets(family)
    precision = setting.precisions()[0]
    host = host_of(setting, family, precision)
    asked = job(setting, family, setting.side(family), steps=5 if setting.on_card else 2, loras=_worn(setting, family))
    host.img2img(asked)
    return profile(setting, lambda: host.img2img(asked))


def _worn(setting: Setting, family: Family) -> list[LoraRef]:
    lora = setting.paths.loras / f"person-{family.value}.safetensors"
    return [LoraRef(lora, 0.9)] if lora.is_file() else []
