"""Full-size SD1.5, SD2.1 and SDXL as single files: known by their header, loaded by the real code, drawn with, trained.

The numbers are random, so nothing can be seen in the pictures; what is proven is that the published shapes go all the
way through: file, parts, picture, steps of the trainer, LoRA in kohya's naming, picture with that LoRA.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from easyphoto import checkpoint, families, sd
from easyphoto.config import Family, Paths
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.ports import LoraRef, Rendered, Txt2Img
from easyphoto.sd import lora as lora_files
from easyphoto.training import dataset, loop
from easyphoto.training.lora import LoraShape, TrainedLora
from tests import accelerators
from tests.fakes import FakeVision
from tests.weights import full_size

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
SIDE = 64
STEPS = 2
RANKS: Mapping[Family, tuple[int, int]] = {Family.SD1: (128, 64), Family.SD2: (128, 64), Family.SDXL: (32, 16)}
PREDICTIONS = {Family.SD1: "epsilon", Family.SD2: "v_prediction", Family.SDXL: "epsilon"}
HEADER = 0.5
"""Seconds that reading a header may take on a busy machine; it takes some milliseconds."""


@pytest.fixture(params=[Family.SD1, Family.SD2, Family.SDXL], ids=lambda f: f.value)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


@pytest.fixture
def paths(family: Family, tmp_path: Path) -> Iterator[Paths]:
    """Program folders with one checkpoint of random numbers, 2 to 7 GB, that is deleted at once after the test."""
    made = Paths.standalone(tmp_path)
    for folder in (made.loras, made.models / "Stable-diffusion"):
        folder.mkdir(parents=True)
    full_size.vocabulary(made.models / "tokenizer")
    path = full_size.write(made.models / "Stable-diffusion" / f"{family.value}.safetensors", family)
    yield made
    path.unlink()
    gc.collect()


def draw(host: EmbeddedHost, family: Family, **more: Any) -> Rendered:
    job = Txt2Img(
        prompt="a person",
        width=SIDE,
        height=SIDE,
        steps=1,
        seed=3,
        sampler="Euler",
        cfg_scale=2.0,
        checkpoint=family.value,
        **more,
    )
    return host.txt2img(job)


def train(parts: sd.Parts, family: Family, path: Path) -> list[float]:
    """Two steps of the real trainer with both text encoders, written as its session writes."""
    accelerators.forget()
    rank, alpha = RANKS[family]
    # At SDXL's defaults but for the resolution; a large rate, so that two steps can be seen.
    config = families.spec(family).train_config(
        resolution=SIDE,
        rank=rank,
        network_alpha=alpha,
        train_batch_size=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing=True,
        mixed_precision="bf16",
        learning_rate=1e-2,
    )
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    source = torch.Generator().manual_seed(1)
    mean = torch.randn(2, 4, SIDE // 8, SIDE // 8, generator=source)
    latents = dataset.LatentSet(mean, torch.full_like(mean, 0.1), SIDE)
    trained = TrainedLora(parts, LoraShape(rank, float(alpha)), seed=1, train_text=True)
    trainer = loop.Trainer(parts, trained, latents, ["easyphoto_face, easyphoto, 1person"], config, accelerator)
    losses = [loss for _, loss in loop.steps(trainer, 1, STEPS, lambda: False)]
    layers = trained.layers()
    lora_files.write(path, layers, lora_files.metadata(family, layers))
    return losses


def counts(parts: sd.Parts) -> tuple[int, int, int]:
    sizes = [sum(p.numel() for p in m.parameters()) for m in (parts.unet, *parts.text_encoders, parts.vae)]
    return sizes[0], sum(sizes[1:-1]), sizes[-1]


def test_a_full_checkpoint_draws_trains_and_wears_its_lora(family: Family, paths: Paths, record_property: Any) -> None:
    file = paths.models / "Stable-diffusion" / f"{family.value}.safetensors"
    start = time.perf_counter()
    info = checkpoint.inspect(file)
    seconds = time.perf_counter() - start
    record_property("header_ms", round(seconds * 1000, 1))
    assert seconds < HEADER
    assert (info.family, info.kind, info.prediction) == (family, "checkpoint", PREDICTIONS[family])

    lora = paths.loras / "her.safetensors"
    parts = sd.load(file, device="cpu", dtype=torch.bfloat16, tokenizers=[paths.models / "tokenizer"])
    table = families.spec(family).memory
    assert counts(parts) == (table.unet, table.text, table.vae)
    assert parts.scheduler_config["prediction_type"] == PREDICTIONS[family]
    losses = train(parts, family, lora)
    assert all(np.isfinite(losses)) and losses[0] != losses[1]
    del parts
    gc.collect()

    known = checkpoint.inspect(lora)
    assert (known.family, known.kind) == (family, "lora")
    layers = lora_files.read(lora).layers
    beginnings = {"lora_unet", "lora_te1", "lora_te2"} if family is Family.SDXL else {"lora_unet", "lora_te"}
    assert {name.split("_text_model")[0] if "_text_model" in name else name[:9] for name in layers} == beginnings
    assert {(layer.rank, layer.alpha) for layer in layers.values()} == {RANKS[family]}
    assert sum(x.down.numel() + x.up.numel() for x in layers.values()) == table.lora * RANKS[family][0]
    del layers

    host = EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.bfloat16)
    plain = draw(host, family)
    assert plain.image.shape == (SIDE, SIDE, 3) and plain.image.std() > 1, "numbers went all the way through"
    worn = draw(host, family, loras=[LoraRef(lora, 1.0)])
    assert not np.array_equal(worn.image, plain.image)
    assert np.array_equal(draw(host, family).image, plain.image), "the LoRA comes off again"


def test_another_familys_lora_is_refused_by_headers_alone(tmp_path: Path, record_property: Any) -> None:
    """A 7 GB checkpoint is not touched for it: this file holds nothing but its header."""
    paths = Paths.standalone(tmp_path)
    (paths.models / "Stable-diffusion").mkdir(parents=True)
    full_size.write(paths.models / "Stable-diffusion" / "xl.safetensors", Family.SDXL, sparse=True)
    rank = torch.zeros(4, 320)
    layers = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": lora_files.LoraLayer(rank, rank.T, 4)
    }
    lora_files.write(paths.loras / "sd1.safetensors", layers, lora_files.metadata(Family.SD1, layers))
    host = EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.bfloat16)
    job = Txt2Img(
        prompt="", width=64, height=64, steps=1, seed=1, checkpoint="xl",
        loras=[LoraRef(paths.loras / "sd1.safetensors", 1.0)],
    )  # fmt: skip
    with pytest.raises(InvalidRequest, match="doesn't fit"):
        host.txt2img(job)
    start = time.perf_counter()
    with pytest.raises(InvalidRequest, match="doesn't fit"):
        host.txt2img(job)
    seconds = time.perf_counter() - start
    record_property("refused_ms", round(seconds * 1000, 1))
    assert seconds < HEADER and host._held().loaded is None


def test_half_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = full_size.write(tmp_path / "sd1.safetensors", Family.SD1, sparse=True)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(InvalidRequest):
        checkpoint.inspect(path)
