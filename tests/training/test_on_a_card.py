"""Tests of the trainer on a real graphics card, with a tiny model. Without a card there is nothing to test."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from easyphoto import families, sd
from easyphoto.config import Family
from easyphoto.sd.placement import Placement
from easyphoto.training import dataset, hardware, loop
from easyphoto.training.lora import LoraShape, TrainedLora
from tests import accelerators

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card")


def train(
    checkpoint: Path, device: str, precision: str, *, by_role: bool = False, **chosen: Any
) -> tuple[list[float], loop.Trainer]:
    """Five steps on made-up latents: their losses, and what did them."""
    accelerators.forget()
    values = {"rank": 4, "network_alpha": 2, "resolution": 64, "train_batch_size": 2, **chosen}
    config = families.spec(Family.BENCH).train_config(mixed_precision=precision, **values)
    parts = sd.load(checkpoint, device="cpu" if by_role else device, dtype=loop.weight_type(precision))
    if by_role:
        parts.placement = Placement(device, by_role=True)
    source = torch.Generator().manual_seed(7)
    latents = dataset.LatentSet(torch.randn(6, 4, 8, 8, generator=source), torch.full((6, 4, 8, 8), 0.1), 64)
    lora = TrainedLora(parts, LoraShape(4, 2.0), seed=1, train_text=config.train_text_encoder)
    accelerator = hardware.accelerator(config, torch.device(device))
    trainer = loop.Trainer(parts, lora, latents, ["a person"] * 3, config, accelerator)
    losses = [trainer.step(number) for number in range(1, 6)]
    assert all(p.device.type == device for p in lora.parameters())
    assert any(layer.up.abs().max() > 0 for layer in lora.layers().values()), "the steps changed the LoRA"
    return losses, trainer


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_the_card_learns_what_the_processor_learns(checkpoint: Path, precision: str) -> None:
    plain, _ = train(checkpoint, "cpu", "no")
    losses, trainer = train(checkpoint, "cuda", precision)
    assert losses == pytest.approx(plain, rel=0.05)
    assert bool(trainer.scaler_state()) == (precision == "fp16"), "only fp16 scales its gradients"


def test_parts_that_wait_in_memory_change_nothing(checkpoint: Path) -> None:
    whole, _ = train(checkpoint, "cuda", "bf16", train_text_encoder=False)
    parted, _ = train(checkpoint, "cuda", "bf16", by_role=True, train_text_encoder=False)
    assert parted == pytest.approx(whole, rel=0.02)


def test_checkpointing_learns_the_same(checkpoint: Path) -> None:
    plain, _ = train(checkpoint, "cuda", "bf16")
    assert train(checkpoint, "cuda", "bf16", gradient_checkpointing=True)[0] == pytest.approx(plain, rel=0.02)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_adam_in_eight_bits_learns(checkpoint: Path) -> None:
    losses, trainer = train(checkpoint, "cuda", "bf16", optimizer="adamw8bit")
    assert all(math.isfinite(loss) for loss in losses)
    restored = trainer.optimizer_state()
    trainer.restore(restored, {})
    assert math.isfinite(trainer.step(6))
