"""The embedded host draws clips: which motion module it takes, what it says without one, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from easyphoto import sd
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.ports import Animator, Checkpoint, ClipJob, Control, ControlRole, Image, LoraRef, Txt2Img
from easyphoto.sd import lora
from tests import tiny
from tests.fakes import FakeVision

JOB = ClipJob(prompt="easyphoto face", width=64, height=64, steps=3, sampler="Euler a", cfg_scale=3, seed=7, frames=3)
STILL = Txt2Img(prompt="easyphoto face", width=64, height=64, steps=3, sampler="Euler a", seed=7)


def module(folder: Path, seed: int = 5, **more: Any) -> Path:
    """A random motion module for the tiny models, as diffusers saves one."""
    from diffusers import MotionAdapter

    torch.manual_seed(seed)
    options = {"block_out_channels": tiny.CHANNELS, "motion_num_attention_heads": 4, **more}
    MotionAdapter(motion_layers_per_block=1, motion_norm_num_groups=8, **options).save_pretrained(folder)
    return folder


def frames(host: EmbeddedHost, job: ClipJob) -> Image:
    return np.stack(host.animate(job).frames)


@pytest.fixture
def motion(paths: Paths) -> Path:
    return module(paths.models / "AnimateDiff" / "motion")


@pytest.mark.thorough
def test_a_module_is_found_by_its_place_its_name_and_its_path(paths: Paths, host: EmbeddedHost, tmp_path: Path) -> None:
    assert isinstance(host, Animator)
    with pytest.raises(AssetMissing, match=r"the bench model needs a motion module, .* models/AnimateDiff\."):
        host.animate(JOB)
    one = module(paths.models / "AnimateDiff" / "motion", 1)
    other = module(paths.models / "AnimateDiff" / "sub" / "other", 2)
    (bench,) = (found for found in host.checkpoints() if found.family is Family.BENCH)
    assert host.motion_module(bench) == host.motion_module(bench, "motion") == one
    assert host.motion_module(bench, "other") == host.motion_module(bench, "sub/other") == other
    elsewhere = module(tmp_path / "elsewhere", 1)
    assert (frames(host, JOB) == frames(host, replace(JOB, motion=elsewhere))).all()
    assert (frames(host, JOB) != frames(host, replace(JOB, motion="other"))).any()
    with pytest.raises(AssetMissing, match=r"There is no motion module named mm_none"):
        host.animate(replace(JOB, motion="mm_none"))
    with pytest.raises(AssetMissing, match="There is no motion module at"):
        host.animate(replace(JOB, motion=tmp_path / "none"))


def test_without_weights_one_sentence_says_what_they_cost(paths: Paths, host: EmbeddedHost) -> None:
    file = paths.models / "base.safetensors"
    named = {family: Checkpoint("base", file, family) for family in (Family.SD1, Family.SD2)}
    with pytest.raises(AssetMissing) as missing:
        host.motion_module(named[Family.SD1])
    said = str(missing.value)
    assert "mm_sd_v15_v2.ckpt" in said and "models fetch motion-sd1`" in said and "(1.8 GB)" in said
    with pytest.raises(AssetMissing, match="There are no motion modules for SD2 models"):
        host.motion_module(named[Family.SD2])
    published = module(paths.models / "AnimateDiff" / "animatediff-motion-adapter-v1-5-2")
    assert host.motion_module(named[Family.SD1]) == published
    assert module(paths.models / "AnimateDiff" / "mm_sd_v15_v2_fp16") == host.motion_module(named[Family.SD1])


def test_a_module_of_another_family_is_refused_in_one_sentence(paths: Paths, host: EmbeddedHost) -> None:
    module(paths.models / "AnimateDiff" / "motion", block_out_channels=(32, 64, 64))
    with pytest.raises(InvalidRequest, match="motion was made for another kind of model than the base model"):
        host.animate(JOB)
    assert host.txt2img(STILL).image.shape == (64, 64, 3)


def test_a_clip_leaves_the_model_as_it_was(paths: Paths, host: EmbeddedHost, motion: Path) -> None:
    before = host.txt2img(STILL).image
    steps: list[tuple[int, int]] = []
    drawn = host.animate(JOB, lambda step, total: steps.append((step, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)] and drawn.seed == 7 and "Seed: 7" in drawn.infotext
    assert [frame.shape for frame in drawn.frames] == [(64, 64, 3)] * 3
    assert (np.stack(drawn.frames) == frames(host, JOB)).all(), "equal jobs give equal clips"
    assert (host.txt2img(STILL).image == before).all()


@pytest.mark.thorough
def test_the_persons_lora_is_worn_in_a_clip_and_off_behind_it(
    paths: Paths, host: EmbeddedHost, bench_parts: sd.Parts, motion: Path
) -> None:
    layers = tiny.lora_layers(bench_parts, scale=0.3)
    file = paths.loras / "ann.safetensors"
    lora.write(file, layers, lora.metadata(bench_parts.family, layers))
    plain = frames(host, JOB)
    worn = frames(host, replace(JOB, loras=[LoraRef(file, 0.9)]))
    assert np.abs(worn.astype(int) - plain).max() > 2
    assert (frames(host, replace(JOB, prompt="easyphoto face <lora:ann:0.9>")) == worn).all()
    assert (frames(host, JOB) == plain).all()


@pytest.mark.thorough
def test_a_device_that_is_too_small_draws_the_same_clip(paths: Paths, host: EmbeddedHost, motion: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    controls = [[Control(ControlRole.CANNY, picture), Control(ControlRole.COLOR, picture)]] * JOB.frames
    job = replace(JOB, frame_controls=controls, image=picture, denoising_strength=0.7)
    small = EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32, budget=1)
    still = small.txt2img(STILL).image
    assert (frames(small, job) == frames(host, job)).all()
    assert "memory may be too small" in small.animate(job).notice
    assert (small.txt2img(STILL).image == still).all()
    assert not any(type(held).__name__ == "UNetMotionModel" for held in small._held().placement._there)


@pytest.mark.thorough
def test_another_base_model_gets_a_moving_model_of_its_own(paths: Paths, host: EmbeddedHost, motion: Path) -> None:
    tiny.folder(paths.models / "Stable-diffusion" / "other", seed=9)
    here = frames(host, JOB)
    there = frames(host, replace(JOB, checkpoint="other"))
    assert np.abs(here.astype(int) - there).max() > 2
    assert (frames(host, replace(JOB, checkpoint="bench")) == here).all()
