"""Tests of the embedded host on a real graphics card, with tiny models. Without a card there is nothing to test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from easyphoto import memory
from easyphoto.config import Family, Paths
from easyphoto.errors import HostFailed
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.ports import Control, ControlRole, Image, Img2Img, LoraRef
from easyphoto.sd import Parts, lora
from tests import tiny
from tests.fakes import FakeVision, blank, draw_face

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card")
SIDE = 128
CONTROLS = (ControlRole.CANNY, ControlRole.TILE)


def host_on(paths: Paths, device: str, dtype: torch.dtype, budget: int | None = None) -> EmbeddedHost:
    return EmbeddedHost(paths, FakeVision(), device=device, dtype=dtype, budget=budget)


def job(**more: Any) -> Img2Img:
    face: Image = draw_face(blank(SIDE, SIDE), (64, 60), 48)
    values = {"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 4, "seed": 3, **more}
    controls = [Control(role, face, 0.5) for role in CONTROLS]
    return Img2Img(image=face, denoising_strength=0.5, controls=controls, **values)


def apart(one: Image, other: Image) -> float:
    """The mean difference of two pictures in levels."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_card_draws_what_the_processor_draws(paths: Paths, dtype: torch.dtype) -> None:
    """The noise is drawn on the processor, so only the rounding differs."""
    plain = host_on(paths, "cpu", torch.float32).img2img(job()).image
    drawn = host_on(paths, "cuda", dtype).img2img(job()).image
    assert apart(plain, drawn) < (1.0 if dtype is torch.float32 else 4.0)
    assert apart(plain, host_on(paths, "cpu", torch.float32).img2img(job(seed=4)).image) > 4.0


def test_a_small_card_holds_one_role_at_a_time_and_draws_the_same(paths: Paths) -> None:
    way: dict[str, Any] = {"width": SIDE, "height": SIDE, "controls": len(CONTROLS), "precision": "fp16"}
    budget = memory.rendering(Family.BENCH, **way, by_role=True).total
    assert budget < memory.rendering(Family.BENCH, **way).total
    large, small = host_on(paths, "cuda", torch.float16), host_on(paths, "cuda", torch.float16, budget)
    whole, parted = large.img2img(job()), small.img2img(job())
    assert "only while it works" in parted.notice and whole.notice == ""
    assert apart(whole.image, parted.image) < 0.5
    assert all(next(m.parameters()).device.type == "cuda" for m in large._held().placement._there)
    gone = small._held().parts(small.checkpoints()[0], None).unet
    assert next(gone.parameters()).device.type == "cpu", "the VAE worked last"


def test_a_lora_comes_off_again(paths: Paths, bench_parts: Parts) -> None:
    layers = tiny.lora_layers(bench_parts, scale=0.3)
    path = paths.loras / "her.safetensors"
    lora.write(path, layers, lora.metadata(Family.BENCH, layers))
    host = host_on(paths, "cuda", torch.float16)
    bare = host.img2img(job()).image
    worn = host.img2img(job(loras=[LoraRef(path, 0.8)])).image
    assert apart(bare, worn) > 1.0
    assert apart(bare, host.img2img(job()).image) < 0.5


def test_a_training_gets_the_memory_of_the_models(paths: Paths) -> None:
    host = host_on(paths, "cuda", torch.float16)
    before = torch.cuda.memory_allocated()
    host.img2img(job())
    held = torch.cuda.memory_allocated() - before
    assert held > 0
    with host.training():
        assert torch.cuda.memory_allocated() - before < held / 10
    host.img2img(job())
    assert torch.cuda.memory_allocated() > before


def test_a_card_that_is_full_gives_one_sentence_and_works_afterwards(paths: Paths) -> None:
    host = host_on(paths, "cuda", torch.float16)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        with pytest.raises(HostFailed, match="more memory than there is"):
            host.img2img(job(width=1024, height=1024))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert host.img2img(job()).image.shape == (SIDE, SIDE, 3)
