"""Tests that the chain asks every host for the same pictures, and that each host's engine gets what the chain asked
for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from easyphoto import families
from easyphoto.config import Family, Paths
from easyphoto.hosts.embedded import EmbeddedHost, library
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask
from easyphoto.ports import Checkpoint, Host, Img2Img, OnStep, Portrait, Rendered, Txt2Img
from easyphoto.sd import render
from tests.fakes import FakeHost, FakeVision, identity
from tests.hosts.conftest import write_checkpoint
from tests.hosts.fake_webui import A1111, FORGE, FakeWebUI
from tests.inference import test_golden as golden

Case = Callable[[Path], PortraitTask]
CASES = [golden.sd1, golden.several, golden.background]


class RecordingWebUI(WebUIHost):
    """Keeps the jobs that it was given."""

    def __init__(self, webui: WebUI) -> None:
        super().__init__(webui)
        self.jobs: list[Txt2Img] = []

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        self.jobs.append(job)
        return super().img2img(job, on_step)


class RecordingEmbedded(EmbeddedHost):
    """Keeps the jobs that it was given, and the LoRAs that its models were to wear; its models are of air."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths, FakeVision(), device="cpu")
        self.jobs: list[Txt2Img] = []
        self.models = MagicMock(loaded=None)
        self.models.idle.return_value = 0

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        self.jobs.append(job)
        return super().img2img(job, on_step)

    def _held(self) -> Any:
        return self.models

    @property
    def worn(self) -> list[list[tuple[Path, float]]]:
        return [list(call.args[1]) for call in self.models.wear.call_args_list]


def as_it_came(p: Any) -> Any:
    return np.asarray(p.init_images[0])


def short(case: Case, models: Path) -> PortraitTask:
    checkpoint = Checkpoint("one.safetensors", models / "one.safetensors", Family.SD1)
    made = case(models / "Lora")
    return replace(
        made, checkpoint=checkpoint, config=replace(made.config, first_diffusion_steps=6, second_diffusion_steps=5)
    )


def compared(task: PortraitTask, host: Host, jobs: Sequence[Txt2Img]) -> list[Portrait]:
    """What ``host`` made, whose jobs are those of the fake host with the same controls; its pictures too."""
    other = FakeHost(paint=identity, roles=host.controls(Family.SD1), limit=host.control_limit())
    theirs, ours = list(portray(task, other, FakeVision())), list(portray(task, host, FakeVision()))
    assert len(ours) == len(theirs) > 0
    assert [golden.describe(job) for job in jobs] == [golden.describe(job) for job in other.jobs]
    for portrait, same in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(portrait.image, same.image)
    return ours


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_same_jobs_in_a_webui(fake: FakeWebUI, case: Case) -> None:
    fake.paint = as_it_came
    webui = RecordingWebUI(WebUI.load())
    compared(short(case, fake.root / "models"), webui, webui.jobs)
    for job, p, units in zip(webui.jobs, fake.pictures, fake.img2img.controlnet.pictures, strict=True):
        assert isinstance(job, Img2Img)
        assert p.prompt.startswith(job.prompt)
        assert [p.prompt.count(f"<lora:{ref.name}:{ref.weight:g}>") for ref in job.loras] == [1] * len(job.loras)
        wanted = (job.negative_prompt, job.seed, job.steps, job.cfg_scale, job.denoising_strength, job.mask_blur)
        assert (p.negative_prompt, p.seed, p.steps, p.cfg_scale, p.denoising_strength, p.mask_blur) == wanted
        assert [weight for _, _, weight, _ in units] == [control.weight for control in job.controls]
        np.testing.assert_array_equal(np.asarray(p.init_images[0]), job.image)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordingEmbedded:
    models = tmp_path / "models"
    paths = Paths(tmp_path / "outputs", models, models / "Lora", tmp_path / "templates", tmp_path / "no bench")
    write_checkpoint(models / "Stable-diffusion" / "one.safetensors")
    paths.loras.mkdir()
    (models / "ControlNet").mkdir()
    for role in library.DRAWN:
        (models / "ControlNet" / f"{families.spec(Family.SD1).control_models[role][0].published}.safetensors").touch()
    monkeypatch.setattr("easyphoto.checkpoint.require_same_family", lambda path, checkpoint: None)
    return RecordingEmbedded(paths)


@pytest.mark.thorough
@pytest.mark.parametrize("fake", [A1111, FORGE], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_same_jobs_in_the_embedded_host(
    embedded: RecordingEmbedded, fake: FakeWebUI, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    painted: list[Img2Img] = []

    def paint(parts: Any, job: Img2Img, controlnets: Any, on_step: OnStep | None) -> Rendered:
        assert set(controlnets) == {control.role for control in job.controls}
        painted.append(job)
        return Rendered(job.image, job.seed, "")

    monkeypatch.setattr(render, "img2img", paint)
    compared(short(case, tmp_path / "models"), embedded, embedded.jobs)
    for job, got, worn in zip(embedded.jobs, painted, embedded.worn, strict=True):
        assert isinstance(job, Img2Img)
        assert all(control.is_map for control in got.controls)
        assert [(c.role, c.weight) for c in got.controls] == [(c.role, c.weight) for c in job.controls]
        assert worn == [(ref.path, ref.weight) for ref in job.loras]
        assert golden.describe(replace(got, controls=job.controls)) == golden.describe(job)
        assert got.image is job.image and got.mask is job.mask

    fake.paint = as_it_came
    webui = RecordingWebUI(WebUI.load())
    assert webui.controls(Family.SD1) == embedded.controls(Family.SD1)
    list(portray(short(case, fake.root / "models"), webui, FakeVision()))
    assert [golden.describe(job) for job in webui.jobs] == [golden.describe(job) for job in embedded.jobs]
