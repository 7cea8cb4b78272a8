"""One update of the reward on full-size SD1.5, SD2.1 and SDXL, of random numbers: a face is painted, decoded and
judged, the gradient goes back through all of it, and the photos hold the LoRA. It takes no more memory than planned.

``EASYPHOTO_REWARD_SIDE`` is the side in pixels; the default is small, because a CPU takes minutes for an update.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional

from easyphoto import families, memory, sd
from easyphoto.config import Family, TrainConfig
from easyphoto.ports import GradientEmbedder, Image
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import dataset, loop, rewarder, validation
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.reward_lora import RewardLora
from easyphoto.vision import registry
from tests import accelerators
from tests.training.conftest import portraits
from tests.weights import full_size

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
SIDE = int(os.environ.get("EASYPHOTO_REWARD_SIDE", "128"))
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@pytest.fixture(params=[Family.SD1, Family.SD2, Family.SDXL], ids=lambda f: f.value)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


@pytest.fixture
def parts(family: Family, tmp_path: Path) -> sd.Parts:
    """A model whose weights take what they take on a card: 16 bits, but for the VAE's."""
    tokens = full_size.vocabulary(tmp_path / "tokenizer")
    path = full_size.write(tmp_path / f"{family.value}.safetensors", family)
    made = sd.load(path, device="cpu", dtype=torch.bfloat16, tokenizers=[tokens])
    path.unlink()
    for module in (made.unet, *made.text_encoders):
        compute_in_full(module)
    return made


def compute_in_full(module: nn.Module) -> None:
    """Let large layers multiply in float32, each with a copy of its weights for as long as it works; most CPUs multiply
    bfloat16 a hundred times slower. Small weights are float32 throughout."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.forward = lambda x, own=layer: functional.linear(x.float(), *full(own))  # type: ignore[method-assign]
        elif isinstance(layer, nn.Conv2d):
            layer.forward = lambda x, own=layer: own._conv_forward(x.float(), *full(own))  # type: ignore[method-assign]
        else:
            for name, weight in layer.named_parameters(recurse=False):
                setattr(layer, name, nn.Parameter(weight.float(), requires_grad=False))


def full(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    return layer.weight.float(), None if layer.bias is None else layer.bias.float()


def memory_now(name: str) -> int:
    """The bytes of this process: "VmRSS" now, "VmHWM" at most since they were forgotten."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not FORGET.exists(), reason="only Linux tells the most memory that a process had")
def test_an_update_learns_within_what_the_plan_says(
    family: Family, parts: sd.Parts, astronaut: Image, tmp_path: Path, record_property: Any
) -> None:
    accelerators.forget()
    config = families.spec(family).train_config(
        resolution=SIDE, gradient_checkpointing=True, mixed_precision="no", train_text_encoder=True
    )
    vision = registry.create(tmp_path / "models")
    judge = vision.embedder
    assert isinstance(judge, GradientEmbedder)
    person = TrainedLora(parts, LoraShape(config.rank, float(config.network_alpha)), seed=1, train_text=True)
    trainer = loop.Trainer(parts, person, latents(), [TRIGGER], config, Accelerator(cpu=True))
    paths = pictures_of(astronaut, tmp_path)
    ratio = families.spec(family).learning.crop_ratio
    templates = validation.prepare(paths, vision, SIDE, ratio, len(paths))
    assert len(templates) == len(paths)
    canvases = [rewarder.canvas(parts, template, judge) for template in templates]
    aim = rewarder.aim(judge, [(canvas.pixels, canvas.place) for canvas in canvases])
    with RewardLora(parts, person, seed=2) as lora:
        work = rewarder.Rewarder(parts, lora, trainer, canvases[:1], aim, judge, Accelerator(cpu=True))
        before = lora.state()
        FORGET.write_text("5")
        start = memory_now("VmRSS")
        made = work.step(1)
        taken = memory_now("VmHWM") - start
        after = lora.state()
    assert np.isfinite(made.loss) and -1 <= made.cosine <= 1
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) >= len(before) / 2, "the gradient came back to every layer; the down matrices may wait for the up"
    share = share_of(canvases[0])
    room = counted(family, config, share)
    record_property("share", round(share, 2))
    record_property("taken_gb", round(taken / 1e9, 2))
    record_property("counted_gb", round(room / 1e9, 2))
    record_property("peak_gb", round(memory_now("VmHWM") / 1e9, 2))
    if family is not Family.SDXL:  # its layers are so large that their copies in float32 are more than the activations
        assert taken <= room
    del parts, work, lora, trainer, person
    gc.collect()


def latents() -> dataset.LatentSet:
    mean = torch.randn(2, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))
    return dataset.LatentSet(mean, torch.full_like(mean, 0.1), SIDE)


def pictures_of(astronaut: Image, folder: Path) -> list[Path]:
    from easyphoto import pictures

    paths = [folder / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, portraits(astronaut, 3, 512), strict=True):
        pictures.save_png(path, image)
    return paths


def share_of(canvas: rewarder.Canvas) -> float:
    top, bottom, left, right = canvas.window
    return (bottom - top) * (right - left) / (canvas.clean.shape[2] * canvas.clean.shape[3])


def counted(family: Family, config: TrainConfig, share: float) -> int:
    """What the plan counts for a step beyond the weights and the LoRAs, in float32: activations, the reserve, and what
    waits in the computer's memory, which here is the same memory."""
    need = memory.reward(
        family,
        resolution=config.resolution,
        rank=config.rank,
        precision="no",
        checkpointing=True,
        train_text=True,
        by_role=True,
    )
    each = memory.DECODED_WITH_GRADIENT - memory.DECODED_KEEPING_LITTLE
    apart = memory.DECODED_KEEPING_LITTLE * (share - memory.DECODED_SHARE) + each * share
    return round((need.activations + apart * config.resolution**2) * memory.SLACK) + need.reserve
