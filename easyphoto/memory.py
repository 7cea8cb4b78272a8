"""How much of the device's memory a training or a picture needs, told before it starts. Pure functions over a table.

Nothing here was measured on a graphics card. Numbers of weights are those of the published architectures. What a step
keeps for its way back was computed for these architectures, with the LoRA of this project in them, by running the
forward pass on tensors without contents and adding up every tensor that autograd keeps (weights in bf16, norms in
float32 as autocast has them, attention that keeps no matrix of all pairs), at two resolutions and two ranks, and is
linear in both. ``RESERVE``, ``SLACK`` and ``RECOMPUTED`` are assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from easyphoto.config import Family, TrainConfig

RESERVE = 1_000_000_000
"""The driver's own memory and the work space of its kernels."""
SLACK = 1.1
"""What fragmentation adds."""
RECOMPUTED = 0.1
"""With gradient checkpointing: the largest piece that is computed again at once, as a part of what is kept without."""
OPTIMIZER_BYTES: Mapping[str, float] = {"adamw": 8.0, "adamw8bit": 2.1, "adafactor": 0.1}
"""State for each trained number."""
VAE_BYTES_PER_PIXEL = 4_000
"""Decoding in 16 bits: its widest layers hold 256 channels at full size, and a few of them are alive at once."""


@dataclass(frozen=True)
class Shape:
    """``unet``, ``text``, ``vae``, ``control``: numbers of weights. ``lora`` and ``lora_text``: trained numbers for
    each rank, in UNet and text encoders together, and in the text encoders alone.

    Bytes kept for one picture in a batch: ``fixed`` + (``cell`` + rank x ``cell_rank``) x cells, where a cell is 8 x 8
    pixels; with gradient checkpointing ``kept_fixed`` + ``kept_cell`` x cells; ``told`` for its caption.
    """

    unet: int
    text: int
    vae: int
    control: int
    lora: int
    lora_text: int
    fixed: int
    cell: int
    cell_rank: int
    kept_fixed: int
    kept_cell: int
    told: int


TABLE: Mapping[Family, Shape] = {
    Family.SD1: Shape(
        unet=859_520_964,
        text=123_060_480,
        vae=83_653_863,
        control=361_279_120,
        lora=497_664,
        lora_text=73_728,
        fixed=117_400_000,
        cell=289_800,
        cell_rank=340,
        kept_fixed=13_000_000,
        kept_cell=57_600,
        told=48_000_000,
    ),
    Family.SD2: Shape(
        unet=865_910_724,
        text=340_387_840,
        vae=83_653_863,
        control=364_228_240,
        lora=620_544,
        lora_text=188_416,
        fixed=120_000_000,
        cell=279_100,
        cell_rank=340,
        kept_fixed=12_000_000,
        kept_cell=47_000,
        told=108_000_000,
    ),
    Family.SDXL: Shape(
        unet=2_567_463_684,
        text=817_720_320,
        vae=83_653_863,
        control=1_251_014_160,
        lora=3_061_248,
        lora_text=401_408,
        fixed=243_000_000,
        cell=537_800,
        cell_rank=433,
        kept_fixed=15_000_000,
        kept_cell=39_900,
        told=157_000_000,
    ),
    Family.BENCH: Shape(
        unet=14_490_644,
        text=1_003_136,
        vae=3_000_000,
        control=6_000_000,
        lora=47_872,
        lora_text=0,
        fixed=0,
        cell=30_000,
        cell_rank=36,
        kept_fixed=0,
        kept_cell=6_000,
        told=2_000_000,
    ),
}


@dataclass(frozen=True)
class Need:
    """Bytes: of the frozen ``weights``, of what is ``trained`` (the LoRA, its gradients, the optimiser's state), of
    what a step keeps (``activations``), and in reserve."""

    weights: int
    trained: int
    activations: int
    reserve: int = RESERVE

    @property
    def total(self) -> int:
        return round((self.weights + self.trained + self.activations) * SLACK) + self.reserve


@dataclass(frozen=True)
class MemoryPlan:
    """``config``: how to train so that it fits, equal in what is learned to what was asked for. ``changes`` says what
    differs, in words; ``fits`` is False when nothing helps."""

    config: TrainConfig
    need: Need
    available: int | None
    fits: bool
    changes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """One sentence for the user."""
        text = f"The training needs about {_gb(self.need.total)} of the device's memory"
        if self.available is None:
            return f"{text} (an estimate)."
        there = f"{_gb(self.available)} are free"
        if not self.fits:
            return f"{text}, but only {there}: choose a smaller resolution or rank, or another optimiser."
        how = f", with {' and '.join(self.changes)}" if self.changes else ""
        return f"{text}{how}; {there} (an estimate)."


def estimate(family: Family, resolution: int, batch: int, rank: int, precision: str, checkpointing: bool) -> int:
    """Bytes of device memory for a training step with AdamW and trained text encoders. See :func:`training`."""
    return training(
        family, resolution=resolution, batch=batch, rank=rank, precision=precision, checkpointing=checkpointing
    ).total


def training(
    family: Family,
    *,
    resolution: int,
    batch: int,
    rank: int,
    precision: str,
    checkpointing: bool,
    optimizer: str = "adamw",
    train_text: bool = True,
) -> Need:
    """What one step needs. ``precision``: "fp16", "bf16" or "no" (float32); the LoRA is float32 in any case."""
    shape, width = TABLE[family], _width(precision)
    trained = (shape.lora if train_text else shape.lora - shape.lora_text) * rank
    cells = (resolution / 8) ** 2
    whole = shape.fixed + (shape.cell + rank * shape.cell_rank) * cells + (shape.told if train_text else 0)
    kept = whole * RECOMPUTED + shape.kept_fixed + shape.kept_cell * cells if checkpointing else whole
    return Need(
        weights=(shape.unet + shape.text + shape.vae) * width,
        trained=round(trained * (4 + 4 + OPTIMIZER_BYTES[optimizer])),
        activations=round(kept * batch * width / 2),
    )


def rendering(family: Family, *, width: int, height: int, controls: int = 0, precision: str = "fp16") -> Need:
    """What one picture needs with ``controls`` ControlNets: steps with and without prompt at once, then decoding."""
    shape, wide = TABLE[family], _width(precision)
    cells = width * height / 64
    step = 2 * shape.kept_cell * cells * wide / 2
    decode = VAE_BYTES_PER_PIXEL * width * height * wide / 2
    weights = (shape.unet + shape.text + shape.vae + controls * shape.control) * wide
    return Need(weights=weights, trained=0, activations=round(max(step, decode)))


def plan(config: TrainConfig, family: Family, precision: str, available: int | None) -> MemoryPlan:
    """How to train within ``available`` bytes (None: unknown): as asked; else with gradient checkpointing; else also in
    smaller batches with as much more accumulation, which learns the same."""
    changes: list[str] = []
    while True:
        need = _need(config, family, precision)
        if available is None or need.total <= available:
            return MemoryPlan(config, need, available, True, tuple(changes))
        if not config.gradient_checkpointing:
            config = replace(config, gradient_checkpointing=True)
            changes.append("gradient checkpointing")
        elif config.train_batch_size % 2 == 0 and config.gradient_accumulation_steps * 2 <= _MOST_ACCUMULATION:
            batch, steps = config.train_batch_size // 2, config.gradient_accumulation_steps * 2
            config = replace(config, train_batch_size=batch, gradient_accumulation_steps=steps)
            changes = [c for c in changes if not c.startswith("batches")] + [f"batches of {batch}, {steps} for a step"]
        else:
            return MemoryPlan(config, need, available, False, tuple(changes))


_MOST_ACCUMULATION = 64


def _need(config: TrainConfig, family: Family, precision: str) -> Need:
    return training(
        family,
        resolution=config.resolution,
        batch=config.train_batch_size,
        rank=config.rank,
        precision=precision,
        checkpointing=config.gradient_checkpointing,
        optimizer=config.optimizer,
    )


def _width(precision: str) -> int:
    """Bytes of a number."""
    return {"fp16": 2, "bf16": 2, "no": 4}[precision]


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
