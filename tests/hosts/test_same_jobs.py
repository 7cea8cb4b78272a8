"""The chain asks a WebUI for the same pictures as it asks any other host for, and the WebUI gets them as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.config import Family
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask
from easyphoto.ports import Checkpoint, Img2Img, OnStep, Rendered, Txt2Img
from tests.fakes import FakeHost, FakeVision, identity
from tests.hosts.fake_webui import FakeWebUI
from tests.inference import test_golden as golden


class Recording(WebUIHost):
    """Keeps the jobs that it was given."""

    def __init__(self, webui: WebUI) -> None:
        super().__init__(webui)
        self.jobs: list[Txt2Img] = []

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        self.jobs.append(job)
        return super().img2img(job, on_step)


def as_it_came(p: Any) -> Any:
    return np.asarray(p.init_images[0])


@pytest.mark.parametrize("case", [golden.sd1, golden.several, golden.background], ids=lambda case: case.__name__)
def test_the_same_jobs(fake: FakeWebUI, case: Callable[[Path], PortraitTask]) -> None:
    checkpoint = Checkpoint("one.safetensors", fake.root / "models" / "one.safetensors", Family.SD1)
    made = case(fake.root / "models" / "Lora")
    short = replace(made.config, first_diffusion_steps=6, second_diffusion_steps=5)
    task = replace(made, checkpoint=checkpoint, config=short)
    fake.paint = as_it_came
    webui = Recording(WebUI.load())
    other = FakeHost(paint=identity, roles=webui.controls(Family.SD1), limit=webui.control_limit())
    vision = FakeVision()
    theirs, ours = list(portray(task, other, vision)), list(portray(task, webui, vision))
    assert len(ours) == len(theirs) > 0
    assert [golden.describe(job) for job in webui.jobs] == [golden.describe(job) for job in other.jobs]
    for portrait, same in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(portrait.image, same.image)
    for job, p, units in zip(webui.jobs, fake.pictures, fake.img2img.controlnet.pictures, strict=True):
        assert isinstance(job, Img2Img)
        assert p.prompt.startswith(job.prompt)
        assert [p.prompt.count(f"<lora:{ref.name}:{ref.weight:g}>") for ref in job.loras] == [1] * len(job.loras)
        wanted = (job.negative_prompt, job.seed, job.steps, job.cfg_scale, job.denoising_strength, job.mask_blur)
        assert (p.negative_prompt, p.seed, p.steps, p.cfg_scale, p.denoising_strength, p.mask_blur) == wanted
        assert [weight for _, _, weight, _ in units] == [control.weight for control in job.controls]
        np.testing.assert_array_equal(np.asarray(p.init_images[0]), job.image)
