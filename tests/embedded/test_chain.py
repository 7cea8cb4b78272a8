"""Tests of the whole two-pass chain of SDXL on the embedded host, with a tiny model of SDXL's design at SDXL's own
size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from easyphoto import sd
from easyphoto.config import Family, Paths
from easyphoto.events import Event, Portrayed, TemplateFailed
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask
from easyphoto.ports import ControlRole
from easyphoto.sd import lora
from tests import tiny, tiny_files
from tests.fakes import FakeVision
from tests.inference.studio import config, person, task, template


def sdxl(folder: Path) -> Path:
    """A diffusers folder of SDXL's design, so narrow that a picture of a million pixels takes a second."""
    tiny.folder(folder)  # its VAE, scheduler and first tokenizer
    tokens = tiny.tokenizer(folder / "tokenizer_2")
    models = tiny_files.models(Family.SDXL, len(tokens))
    for name, text in zip(("text_encoder", "text_encoder_2"), models.texts, strict=True):
        text.save_pretrained(folder / name)
    narrow = {"block_out_channels": (16, 16, 32), "layers_per_block": 1, "norm_num_groups": 8}
    torch.manual_seed(0)
    UNet2DConditionModel(
        **{**tiny_files.unet_config(Family.SDXL), **narrow, "transformer_layers_per_block": 1}
    ).save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index |= {"_class_name": "StableDiffusionXLPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def canny(base: Path, folder: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    model = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    with torch.no_grad():
        for block in (*model.controlnet_down_blocks, model.controlnet_mid_block):
            block.weight.normal_(0, 0.1)
    model.save_pretrained(folder)


@pytest.fixture
def xl(paths: Paths) -> Path:
    base = sdxl(paths.models / "Stable-diffusion" / "sdxl base")
    canny(base, paths.models / "ControlNet" / "diffusers_xl_canny_mid")
    return base


def portrait_task(paths: Paths, xl: Path, family: Family) -> PortraitTask:
    parts = sd.load(xl, device="cpu", dtype=torch.float32)
    layers = tiny.lora_layers(parts, scale=0.1) if family is Family.SDXL else tiny.lora_of_width(768)
    anna = person(paths.loras)
    assert anna.lora is not None
    lora.write(anna.lora, layers, lora.metadata(family, layers))
    chosen = config(first_diffusion_steps=2, second_diffusion_steps=2)
    return task((template(10),), anna, family=Family.SDXL, config=chosen, folder=paths.portraits)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The sizes that the UNet is told: original, corner, target."""
    seen: list[list[float]] = []
    forward = UNet2DConditionModel.forward

    def look(self: Any, *inputs: Any, **more: Any) -> Any:
        seen.extend(more["added_cond_kwargs"]["time_ids"].tolist())
        return forward(self, *inputs, **more)

    monkeypatch.setattr(UNet2DConditionModel, "forward", look)
    return seen


@pytest.mark.thorough
def test_two_passes_of_sdxl(paths: Paths, xl: Path, told: list[list[float]]) -> None:
    host = EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32)
    assert host.controls(Family.SDXL) == {ControlRole.CANNY}
    job = portrait_task(paths, xl, Family.SDXL)
    events: list[Event] = []
    (made,) = list(portray(job, host, FakeVision(), events.append))
    assert {"fusion", "first", "second", "final"} <= set(made.stages)
    assert (made.stages["first"] != made.stages["fusion"]).any()
    assert (made.stages["second"] != made.stages["first"]).any()
    assert made.image.shape == template(10).shape and (made.image != template(10)).any()
    assert [e.template for e in events if isinstance(e, Portrayed)] == [0]
    sizes = {tuple(ids) for ids in told}
    assert sizes and all(ids[:2] == ids[4:] and ids[2:4] == (0, 0) for ids in sizes)
    assert all(0.7e6 < ids[0] * ids[1] < 1.4e6 for ids in sizes), "about a million pixels, as SDXL was trained on"
    assert made.recipe["checkpoint"]["family"] == "sdxl" and "memory" in made.recipe["host"]
    assert made.path is not None and made.path.is_file()


def test_another_familys_person_is_refused_before_anything_loads(paths: Paths, xl: Path) -> None:
    host = EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32)
    job = portrait_task(paths, xl, Family.SD1)
    events: list[Event] = []
    assert list(portray(job, host, FakeVision(), events.append)) == []
    assert ["doesn't fit" in e.message for e in events if isinstance(e, TemplateFailed)] == [True]
    assert host._held().loaded is None
