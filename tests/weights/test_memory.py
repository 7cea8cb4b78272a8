"""Tests of the estimate of memory: of its table against the architectures, and of the plan that follows from it."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from easyphoto import families
from easyphoto.config import Family, Paths, TrainConfig
from easyphoto.memory import EASILY, MemoryPlan, estimate, gathered, plan, plan_rendering, rendering, training

GB = 1e9


def tensors(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    total = 0
    for name, entry in header.items():
        if name != "__metadata__":
            count = 1
            for side in entry["shape"]:
                count *= side
            total += count
    return total


def test_the_table_knows_the_checkpoint_that_ships() -> None:
    unet = Paths.standalone().bench / "unet" / "diffusion_pytorch_model.safetensors"
    if not unet.is_file():
        pytest.skip("the bench checkpoint is not there")
    assert tensors(unet) == pytest.approx(families.spec(Family.BENCH).memory.unet, rel=0.02)


def test_the_table_knows_the_lora_of_the_checkpoint_that_ships() -> None:
    """It reaches the finest level too, where this UNet has convolutions alone."""
    import torch

    from easyphoto import sd
    from easyphoto.training.lora import LoraShape, TrainedLora

    folder = Paths.standalone().bench
    if not (folder / "model_index.json").is_file():
        pytest.skip("the bench checkpoint is not there")
    lora = TrainedLora(
        sd.load(folder, device="cpu", dtype=torch.float32), LoraShape(rank=2, alpha=2.0), seed=0, train_text=True
    )
    assert sum(p.numel() for p in lora.parameters()) == 2 * families.spec(Family.BENCH).memory.lora
    assert any(name.startswith("lora_unet_up_blocks_2_resnets") for name in lora.layers())


@pytest.mark.slow
@pytest.mark.parametrize("family", [Family.SD1, Family.SD2, Family.SDXL])
def test_the_table_knows_the_published_architectures(family: Family) -> None:
    """Numbers of weights and of the LoRA's for each rank, from the networks themselves, made without contents."""
    import torch
    from diffusers import ControlNetModel, UNet2DConditionModel

    from easyphoto.training.lora import UNET_LAYERS

    common = {"use_linear_projection": family is not Family.SD1}
    config = {
        Family.SD1: {"cross_attention_dim": 768, "attention_head_dim": 8},
        Family.SD2: {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]},
        Family.SDXL: {
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "transformer_layers_per_block": [1, 2, 10],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    }[family]
    up = {"up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")} if family is Family.SDXL else {}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**common, **config, **up)
        control = ControlNetModel(**common, **config)
    shape = families.spec(family).memory
    assert sum(p.numel() for p in unet.parameters()) == shape.unet
    assert sum(p.numel() for p in control.parameters()) == shape.control
    rank = sum(
        sum(layer.weight.shape[:2])
        for name, layer in unet.named_modules()
        if name.endswith(tuple(f".{end}" for end in UNET_LAYERS)) and hasattr(layer, "weight")
    )
    assert rank == shape.lora - shape.lora_text


def test_what_is_known_of_the_families_comes_out() -> None:
    """The original's advice: 16 GB take a batch of 4 at 512. SDXL with checkpointing trains in 12 GB elsewhere too."""
    assert 4 * GB < estimate(Family.SD1, 512, 1, 128, "fp16", False) < 8 * GB
    assert estimate(Family.SD1, 512, 4, 128, "fp16", False) < 16 * GB
    assert 9 * GB < estimate(Family.SDXL, 1024, 1, 32, "bf16", True) < 13 * GB
    assert 17 * GB < estimate(Family.SDXL, 1024, 1, 32, "bf16", False) < 24 * GB
    assert estimate(Family.BENCH, 256, 4, 32, "no", False) < 2 * GB


@pytest.mark.parametrize("family", [spec.family for spec in families.known()])
def test_more_of_anything_needs_more(family: Family) -> None:
    start = estimate(family, 512, 1, 32, "bf16", True)
    assert estimate(family, 768, 1, 32, "bf16", True) > start
    assert estimate(family, 512, 2, 32, "bf16", True) > start
    assert estimate(family, 512, 1, 128, "bf16", True) > start
    assert estimate(family, 512, 1, 32, "no", True) > start
    assert estimate(family, 512, 1, 32, "bf16", False) > start
    base = {"resolution": 512, "batch": 1, "rank": 32, "precision": "bf16", "checkpointing": True}
    adam = training(family, **base).trained  # type: ignore[arg-type]
    assert training(family, **base, optimizer="adamw8bit").trained < adam  # type: ignore[arg-type]
    assert rendering(family, width=512, height=512, controls=2).total > rendering(family, width=512, height=512).total


def test_the_reward_is_counted_where_it_needs_more_than_the_training() -> None:
    """SDXL on 16 GB: the face is decoded so that little is kept, and the text encoders wait."""
    asked = families.spec(Family.SDXL).train_config(enable_rl=True)
    made = plan(asked, Family.SDXL, "bf16", 16_000_000_000)
    assert made.fits and made.by_role and made.config.gradient_checkpointing
    assert made.need.total > plan(replace(asked, enable_rl=False), Family.SDXL, "bf16", 16_000_000_000).need.total
    assert not plan(asked, Family.SDXL, "bf16", 12_000_000_000).fits
    small = families.spec(Family.SD1).train_config(enable_rl=True)
    assert plan(small, Family.SD1, "fp16", 8_000_000_000).fits


def test_a_plan_changes_nothing_that_fits_or_is_not_known() -> None:
    config = TrainConfig()
    for available in (None, 80_000_000_000):
        made = plan(config, Family.SD1, "fp16", available)
        assert made.fits and made.config is config and not made.changes
    assert "estimate" in plan(config, Family.SD1, "fp16", None).sentence()


def test_a_plan_saves_memory_without_learning_anything_else() -> None:
    config = TrainConfig(train_batch_size=4, gradient_accumulation_steps=1, resolution=1024)
    made = plan(config, Family.SDXL, "bf16", 20_000_000_000)
    assert made.fits and made.config.gradient_checkpointing and made.need.total <= 20_000_000_000
    assert made.config.train_batch_size * made.config.gradient_accumulation_steps == 4
    assert made.config.rank == config.rank and made.config.resolution == 1024
    assert "gradient checkpointing" in made.sentence()


def test_a_plan_that_can_not_fit_says_so() -> None:
    made = plan(TrainConfig(resolution=1024, train_batch_size=2), Family.SDXL, "bf16", 6_000_000_000)
    assert not made.fits and "only 6.0 GB are free" in made.sentence()
    assert made.config.train_batch_size == 1 and made.config.gradient_accumulation_steps == 8


def test_a_plan_moves_before_it_recomputes() -> None:
    """The cheapest way first: what a step doesn't use waits, above all text encoders that aren't trained."""
    config = TrainConfig(train_batch_size=1, gradient_accumulation_steps=1, train_text_encoder=False)
    whole = plan(config, Family.SDXL, "bf16", None).need
    made = plan(config, Family.SDXL, "bf16", whole.total - 1_500_000_000)
    assert made.fits and made.by_role and not made.config.gradient_checkpointing
    assert "only while it works" in made.sentence()
    trained = plan(replace(config, train_text_encoder=True), Family.SDXL, "bf16", whole.total - 1_500_000_000)
    assert trained.config.gradient_checkpointing, "what is trained can't leave"


def split(made: MemoryPlan) -> tuple[int, int]:
    return made.config.train_batch_size, made.config.gradient_accumulation_steps


def test_a_card_with_room_takes_the_batch_at_once() -> None:
    asked = TrainConfig(train_batch_size=1, gradient_accumulation_steps=4)
    roomy = gathered(plan(asked, Family.SD1, "fp16", 80_000_000_000), Family.SD1, "fp16")
    assert split(roomy) == (4, 1) and not roomy.changes
    assert roomy.need.total == estimate(Family.SD1, 512, 4, 128, "fp16", False)
    middling = round(estimate(Family.SD1, 512, 2, 128, "fp16", False) / EASILY) + 1
    assert split(gathered(plan(asked, Family.SD1, "fp16", middling), Family.SD1, "fp16")) == (2, 2)
    tight = plan(asked, Family.SD1, "fp16", middling - 2)
    assert gathered(tight, Family.SD1, "fp16") is tight


def test_a_batch_that_halves_no_further_stays() -> None:
    odd = gathered(
        plan(TrainConfig(train_batch_size=1, gradient_accumulation_steps=6), Family.SD1, "fp16", 80_000_000_000),
        Family.SD1,
        "fp16",
    )
    assert split(odd) == (2, 3)


def test_nothing_is_gathered_where_memory_is_short_or_not_known() -> None:
    asked = TrainConfig(resolution=1024, train_batch_size=1, gradient_accumulation_steps=4)
    saving = plan(asked, Family.SDXL, "bf16", 12_000_000_000)
    assert saving.changes and gathered(saving, Family.SDXL, "bf16") is saving
    unknown = plan(asked, Family.SDXL, "bf16", None)
    assert gathered(unknown, Family.SDXL, "bf16") is unknown


def ways(family: Family, side: int, gigabytes: float | None, **more: int) -> tuple[bool, bool, bool, bool]:
    available = None if gigabytes is None else round(gigabytes * GB)
    size = {"width": side, "height": side, "controls": 2, **more}
    made = plan_rendering(family, precision="fp16", available=available, **size)  # type: ignore[arg-type]
    return made.idle_leave, made.by_role, made.tiled, made.fits


def test_a_picture_gets_what_its_device_can_hold() -> None:
    assert ways(Family.SDXL, 1024, None) == (False, False, False, True)
    assert ways(Family.SDXL, 1024, 24) == (False, False, False, True)
    assert ways(Family.SDXL, 1024, 24, idle=2) == (True, False, False, True)
    assert ways(Family.SDXL, 1024, 16) == (True, True, False, True)
    assert ways(Family.SDXL, 1024, 12) == (True, True, True, False), "two whole ControlNets of SDXL are 5 GB"
    assert ways(Family.SDXL, 1024, 12, controls=1) == (True, True, False, True)
    assert ways(Family.SDXL, 1024, 10, controls=0) == (True, True, True, True)
    assert ways(Family.SD1, 512, 8) == (False, False, False, True)
    assert ways(Family.SD1, 1024, 11) == (True, True, False, True)
    assert ways(Family.SD1, 1024, 7) == (True, True, True, True)
    assert ways(Family.SD1, 1024, 1) == (True, True, True, False)


def test_a_notice_is_the_same_for_pictures_of_all_sizes() -> None:
    size = {"controls": 0, "precision": "fp16", "available": round(10 * GB)}
    told = {plan_rendering(Family.SDXL, width=1024, height=h, **size).notice() for h in (1024, 1088)}  # type: ignore[arg-type]
    assert len(told) == 1 and "decoding in tiles" in told.pop()
