"""Tests of the embedded host on a device that is too small: what lies there while a part works, and what the user is
told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from easyphoto import memory
from easyphoto.config import Family, Paths
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.ports import Control, ControlRole, Image, Img2Img
from tests.fakes import FakeVision, blank, draw_face

SIDE = 64
CONTROLS = (ControlRole.CANNY, ControlRole.TILE)


def need(**more: Any) -> int:
    way = {"width": SIDE, "height": SIDE, "controls": len(CONTROLS), "precision": "no", **more}
    return memory.rendering(Family.BENCH, **way).total


def host_with(paths: Paths, budget: int | None) -> EmbeddedHost:
    return EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32, budget=budget)


def job(roles: tuple[ControlRole, ...] = CONTROLS, **more: Any) -> Img2Img:
    face: Image = draw_face(blank(SIDE, SIDE), (32, 30), 24)
    controls = [Control(role, face, 0.5) for role in roles]
    values = {"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 4, "seed": 3, **more}
    return Img2Img(image=face, denoising_strength=0.5, controls=controls, **values)


@contextmanager
def watched(host: EmbeddedHost) -> Iterator[list[set[str]]]:
    """Every time a part works: which kinds of parts lie on the device."""
    seen: list[set[str]] = []
    kinds = {"UNet2DConditionModel", "ControlNetModel", "CLIPTextModel", "AutoencoderKL"}

    def look(module: Any, inputs: Any) -> None:
        # The VAE has two ways in and neither is its own forward.
        if type(module).__name__ in ("Encoder", "Decoder"):
            module = next((m for m in models.placement._there if module in set(m.children())), None)
            assert module is not None, "the VAE works while it is not on the device"
        elif type(module).__name__ not in kinds:
            return
        assert models.placement.holds(module), f"{type(module).__name__} works while it is not on the device"
        seen.append({type(m).__name__ for m in models.placement._there})

    models = host._held()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.thorough
def test_with_room_everything_stays_and_nothing_is_said(paths: Paths) -> None:
    host = host_with(paths, need())
    with watched(host) as seen:
        rendered = host.img2img(job())
    everything = {"UNet2DConditionModel", "ControlNetModel", "CLIPTextModel", "AutoencoderKL"}
    assert seen and all(there == everything for there in seen)
    assert rendered.notice == ""
    assert "A picture of 256 x 256 needs about" in host.describe()["memory"]


@pytest.mark.thorough
def test_a_small_device_holds_one_role_at_a_time_and_the_picture_is_the_same(paths: Paths) -> None:
    budget = need(by_role=True)
    assert budget < need()
    host = host_with(paths, budget)
    with watched(host) as seen:
        rendered = host.img2img(job())
        again = host.img2img(job())
    roles = [{"CLIPTextModel"}, {"UNet2DConditionModel", "ControlNetModel"}, {"AutoencoderKL"}]
    assert all(there in roles for there in seen) and all(role in seen for role in roles)
    plain = host_with(paths, None).img2img(job())
    assert np.array_equal(rendered.image, plain.image) and np.array_equal(again.image, plain.image)
    assert "only while it works" in rendered.notice and plain.notice == ""
    assert "only while it works" in host.describe()["memory"]


@pytest.mark.thorough
def test_what_fits_nowhere_is_tried_in_tiles_and_said(paths: Paths) -> None:
    host = host_with(paths, 1)
    rendered = host.img2img(job())
    assert "too small" in rendered.notice and "choose a smaller size" in host.describe()["memory"]
    assert np.array_equal(rendered.image, host_with(paths, None).img2img(job()).image), "one tile is the whole picture"
    assert host._held().parts(host.checkpoints()[0], None).vae.use_tiling


@pytest.mark.thorough
def test_controlnets_of_another_pass_leave_when_the_room_is_needed(paths: Paths) -> None:
    roomy, tight = host_with(paths, need(controls=1, idle=1)), host_with(paths, need(controls=1))
    for host, stay in ((roomy, 2), (tight, 1)):
        host.img2img(job((ControlRole.CANNY,)))
        host.img2img(job((ControlRole.TILE,)))
        there = [m for m in host._held().placement._there if type(m).__name__ == "ControlNetModel"]
        assert len(there) == stay
    with watched(tight):
        tight.img2img(job((ControlRole.CANNY,)))


@pytest.mark.thorough
def test_loras_hold_across_the_moves(paths: Paths, bench_parts: Any) -> None:
    from easyphoto.ports import LoraRef
    from easyphoto.sd import lora
    from tests import tiny

    layers = tiny.lora_layers(bench_parts, scale=0.3)
    path = paths.loras / "her.safetensors"
    lora.write(path, layers, lora.metadata(Family.BENCH, layers))
    worn = job(loras=[LoraRef(path, 0.8)])
    small, large = host_with(paths, need(by_role=True)), host_with(paths, None)
    bare = small.img2img(job()).image
    dressed = small.img2img(worn).image
    assert np.array_equal(dressed, large.img2img(worn).image) and not np.array_equal(dressed, bare)
    assert np.array_equal(small.img2img(job()).image, bare)


def test_the_budget_of_a_device_is_what_is_free_and_what_it_holds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from easyphoto.hosts.embedded import device

    assert device.free_memory(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (3_000_000_000, 8_000_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda where: 2_000_000_000)
    assert device.free_memory(torch.device("cuda")) == 5_000_000_000
