"""How much of the device's memory a training or a picture needs, estimated before it starts: pure functions over a
table.

On a graphics card SD1.5 took a sixth to a quarter less than is estimated here; nothing else was measured on one. The
numbers of weights are those of the published architectures. What a step keeps for the backward pass was computed for
these architectures, with the LoRA of this project in them: the forward pass ran on tensors without contents, and every
tensor that autograd keeps was added up (weights in bf16, norms in float32 as autocast has them, attention that keeps no
matrix of all pairs). This was done at two resolutions and two ranks, and the result is linear in both. ``RESERVE``,
``SLACK`` and ``RECOMPUTED`` are assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from easyphoto import families
from easyphoto.config import Family, TrainConfig
from easyphoto.messages import Message, joined

RESERVE = 1_000_000_000
"""Bytes of the driver's own memory and of the work space of its kernels."""
SLACK = 1.1
"""The factor that fragmentation adds."""
RECOMPUTED = 0.1
"""The largest piece that gradient checkpointing computes again at once, as a share of what is kept without it."""
OPTIMIZER_BYTES: Mapping[str, float] = {"adamw": 8.0, "adamw8bit": 2.1, "adafactor": 0.1}
"""Bytes of the optimiser's state for each trained number."""
VAE_BYTES_PER_PIXEL = 8_000
"""Bytes for decoding in float32: the widest layers hold 256 channels at full size, and a few of them exist at once."""
TILE = 512
"""The side in pixels of the tiles in which a picture is decoded where the whole picture needs too much."""
DECODED_WITH_GRADIENT = 23_600
"""Bytes for each pixel that is decoded in float32 with a gradient: a whole picture of 512 x 512 keeps 6.1 GB."""
DECODED_KEEPING_LITTLE = 6_700
"""The same where each layer is computed again for the gradient, and its input waits in the computer's memory
(:func:`easyphoto.sd.vae.keeping_little`)."""
DECODED_SHARE = 0.5
"""How much of a picture the reward decodes: the part around the face. Of 24 portraits two thirds had at most 0.55 in
it, and one that its face fills 0.9."""
REWARD_RANK, REWARD_BATCH = 8, 2
"""The rank of the reward's LoRA, and how many photos are at once in the pass that holds it to them."""
_VAE_WIDTH = 4
"""The VAE is float32 whatever the precision: half precision overflows in some."""


@dataclass(frozen=True)
class Need:
    """How many bytes are needed: for the frozen ``weights``, for what is ``trained`` (the LoRA, its gradients, the
    optimiser's state), for what a step keeps (``activations``), and in ``reserve``."""

    weights: int
    trained: int
    activations: int
    reserve: int = RESERVE

    @property
    def total(self) -> int:
        return round((self.weights + self.trained + self.activations) * SLACK) + self.reserve


@dataclass(frozen=True)
class MemoryPlan:
    """How to train so that it fits. ``config`` learns the same as the one that was asked for. ``changes`` says in words
    what differs; ``fits`` is False when nothing helps. With ``by_role``, parts that a step doesn't use (the VAE, and
    text encoders that aren't trained) wait in the computer's memory."""

    config: TrainConfig
    need: Need
    available: int | None
    fits: bool
    changes: tuple[str, ...] = ()
    by_role: bool = False

    def sentence(self) -> str:
        """One sentence for the user."""
        text = Message("The training needs about {needed} of the device's memory", needed=_gb(self.need.total))
        if self.available is None:
            return Message("{text} (an estimate).", text=text)
        there = Message("{free} are free", free=_gb(self.available))
        if not self.fits:
            return Message(
                "{text}, but only {there}: choose a smaller resolution or rank, or another optimiser.",
                text=text,
                there=there,
            )
        if not self.changes:
            return Message("{text}; {there} (an estimate).", text=text, there=there)
        text = Message("{text}, with {how}", text=text, how=joined(map(Message, self.changes), " and "))
        return Message("{text}; {there} (an estimate).", text=text, there=there)


def estimate(family: Family, resolution: int, batch: int, rank: int, precision: str, checkpointing: bool) -> int:
    """Return the bytes of device memory for a training step with AdamW and trained text encoders. See
    :func:`training`."""
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
    """Return what one step needs. ``precision`` is "fp16", "bf16" or "no" (float32); the LoRA is float32 in any
    case."""
    numbers, width = families.spec(family).memory, _width(precision)
    trained = (numbers.lora if train_text else numbers.lora - numbers.lora_text) * rank
    cells = (resolution / 8) ** 2
    whole = numbers.fixed + (numbers.cell + rank * numbers.cell_rank) * cells + (numbers.caption if train_text else 0)
    kept = whole * RECOMPUTED + numbers.kept_fixed + numbers.kept_cell * cells if checkpointing else whole
    return Need(
        weights=(numbers.unet + numbers.text) * width + numbers.vae * _VAE_WIDTH,
        trained=round(trained * (4 + 4 + OPTIMIZER_BYTES[optimizer])),
        activations=round(kept * batch * width / 2),
    )


@dataclass(frozen=True)
class ClipNeed:
    """What a clip needs more than a picture: ``frames`` that go through the model at once (their latents beyond these
    are small), and the number of weights of the ``motion`` module."""

    frames: int = 1
    motion: int = 0


_NO_CLIP = ClipNeed()


def rendering(
    family: Family,
    *,
    width: int,
    height: int,
    controls: int = 0,
    precision: str = "fp16",
    by_role: bool = False,
    tiled: bool = False,
    idle: int = 0,
) -> Need:
    """Return what one picture needs with ``controls`` ControlNets: for steps with and without prompt at once, then for
    decoding.

    With ``by_role``, the text encoders, the UNet with its ControlNets, and the VAE are on the device one after the
    other. With ``tiled``, the VAE sees tiles of :data:`TILE` pixels. ``idle`` counts further ControlNets that are on
    the device although this picture doesn't use them.
    """
    return _drawing(family, (width, height), controls + idle, precision, _NO_CLIP, by_role=by_role, tiled=tiled)


def _drawing(
    family: Family,
    size: tuple[int, int],
    controls: int,
    precision: str,
    clip: ClipNeed,
    *,
    by_role: bool,
    tiled: bool,
) -> Need:
    """Return what :func:`rendering` does, for a picture of ``size`` (width, height) or for a clip."""
    numbers, wide = families.spec(family).memory, _width(precision)
    pixels = size[0] * size[1]
    text, vae = numbers.text * wide, numbers.vae * _VAE_WIDTH
    unet = (numbers.unet + clip.motion + controls * numbers.control) * wide
    step = round(2 * numbers.kept_cell * pixels / 64 * wide / 2) * clip.frames
    decode = VAE_BYTES_PER_PIXEL * (min(pixels, TILE * TILE) if tiled else pixels)
    if not by_role:
        return Need(weights=text + unet + vae, trained=0, activations=max(step, decode))
    roles = [(text, 0), (unet, step), (vae, decode)]
    weights, activations = max(roles, key=sum)
    return Need(weights=weights, trained=0, activations=activations)


@dataclass(frozen=True)
class RenderPlan:
    """How to make a picture so that it fits. The picture is the same, except for the seams of tiles, which are blended.

    With ``idle_leave``, ControlNets of other passes wait in the computer's memory. ``by_role`` and ``tiled`` are those
    of :func:`rendering`. ``fits`` is False when nothing helps; the picture is then tried all the same.
    """

    need: Need
    available: int | None
    subject: str = Message("A picture")
    idle_leave: bool = False
    by_role: bool = False
    tiled: bool = False
    fits: bool = True

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from having everything on the device, in words."""
        changes = {
            Message("each part of the model on the device only while it works"): self.by_role,
            Message("unused ControlNets in the computer's memory"): self.idle_leave and not self.by_role,
            Message("decoding in tiles"): self.tiled,
        }
        return tuple(words for words, holds in changes.items() if holds)

    def sentence(self) -> str:
        """One sentence for the user."""
        text = Message(
            "{subject} needs about {needed} of the device's memory", subject=self.subject, needed=_gb(self.need.total)
        )
        if self.available is None:
            return Message("{text} (an estimate).", text=text)
        if self.changes:
            text = Message("{text}, with {how}", text=text, how=joined(map(Message, self.changes), " and "))
        if not self.fits:
            return Message(
                "{text}, but only {free} are free: choose a smaller size if it fails.",
                text=text,
                free=_gb(self.available),
            )
        return Message("{text}; {free} are free (an estimate).", text=text, free=_gb(self.available))

    def notice(self) -> str:
        """Return the notice that the user should get without asking, the same for pictures of all sizes; "" for
        nothing. ControlNets that wait cost so little time that they aren't mentioned."""
        if not self.fits:
            return Message(
                "The device's memory may be too small: choose a smaller size or close other programs if it fails."
            )
        if not (self.by_role or self.tiled):
            return ""
        return Message(
            "The device's memory is short, which takes time: {changes}.", changes=joined(self.changes, " and ")
        )


def plan_rendering(
    family: Family,
    *,
    width: int,
    height: int,
    controls: int,
    precision: str,
    available: int | None,
    idle: int = 0,
    clip: ClipNeed | None = None,
) -> RenderPlan:
    """Return how to make a picture within ``available`` bytes (None: unknown): with everything on the device; else
    without the ``idle`` ControlNets; else part by part; else also decoding in tiles. The earlier ways are the faster
    ones."""
    ways: tuple[dict[str, bool], ...] = (
        {},
        {"idle_leave": True},
        {"idle_leave": True, "by_role": True},
        {"idle_leave": True, "by_role": True, "tiled": True},
    )
    made = None
    for way in ways:
        need = _drawing(
            family,
            (width, height),
            controls + (0 if way else idle),
            precision,
            clip or _NO_CLIP,
            by_role=way.get("by_role", False),
            tiled=way.get("tiled", False),
        )
        fits = available is None or need.total <= available
        made = RenderPlan(
            need, available, Message("A picture of {width} x {height}", width=width, height=height), fits=fits, **way
        )
        if fits:
            break
    assert made is not None
    return made


def plan(config: TrainConfig, family: Family, precision: str, available: int | None) -> MemoryPlan:
    """Return how to train within ``available`` bytes (None: unknown): as asked; else with nothing on the device that a
    step doesn't use; else with gradient checkpointing; else also in smaller batches with as much more accumulation,
    which learns the same."""
    changes: list[str] = []
    by_role = False
    while True:
        need = _need(config, family, precision, by_role)
        if available is None or need.total <= available:
            return MemoryPlan(config, need, available, True, tuple(changes), by_role)
        if not by_role:
            by_role = True
            changes.append("each part of the model on the device only while it works")
        elif not config.gradient_checkpointing:
            config = replace(config, gradient_checkpointing=True)
            changes.append(Message("gradient checkpointing"))
        elif config.train_batch_size % 2 == 0 and config.gradient_accumulation_steps * 2 <= _MOST_ACCUMULATION:
            batch, steps = config.train_batch_size // 2, config.gradient_accumulation_steps * 2
            config = replace(config, train_batch_size=batch, gradient_accumulation_steps=steps)
            changes = [c for c in changes if not c.startswith("batches")] + [
                Message("batches of {batch}, {steps} for a step", batch=batch, steps=steps)
            ]
        else:
            return MemoryPlan(config, need, available, False, tuple(changes), by_role)


_MOST_ACCUMULATION = 64
EASILY = 0.8
"""A training that needs at most this share of the free memory fits easily."""


def gathered(plan: MemoryPlan, family: Family, precision: str) -> MemoryPlan:
    """Return the plan with more pictures in one pass and as much less accumulation, which learns the same, as long as
    that fits easily. A pass over one picture leaves a fast card idle most of the time. A plan that had to save memory,
    or for which nobody knows how much there is, stays as it is."""
    if plan.available is None or plan.changes or not plan.fits:
        return plan
    while plan.config.gradient_accumulation_steps % 2 == 0:
        batch, steps = plan.config.train_batch_size * 2, plan.config.gradient_accumulation_steps // 2
        config = replace(plan.config, train_batch_size=batch, gradient_accumulation_steps=steps)
        need = _need(config, family, precision, plan.by_role)
        if batch > _LARGEST_BATCH or need.total > EASILY * plan.available:
            break
        plan = replace(plan, config=config, need=need)
    return plan


_LARGEST_BATCH = 64


def reward(
    family: Family, *, resolution: int, rank: int, precision: str, checkpointing: bool, train_text: bool, by_role: bool
) -> Need:
    """Return what a step of the reward needs: the UNet and the VAE at once, one face with a gradient through both, then
    some photos through the UNet alone. ``rank`` is that of the person's LoRA, which lies beside; the optimiser of the
    training is still there."""
    face, photos = (
        training(
            family,
            resolution=resolution,
            batch=batch,
            rank=rank + REWARD_RANK,
            precision=precision,
            checkpointing=checkpointing,
            train_text=False,
        ).activations
        for batch in (1, REWARD_BATCH)
    )
    each = DECODED_KEEPING_LITTLE if checkpointing else DECODED_WITH_GRADIENT
    numbers = families.spec(family).memory
    own = (numbers.lora if train_text else numbers.lora - numbers.lora_text) * rank
    taught = (numbers.lora - numbers.lora_text) * REWARD_RANK
    text = 0 if by_role else numbers.text * _width(precision)
    return Need(
        weights=numbers.unet * _width(precision) + numbers.vae * _VAE_WIDTH + text,
        trained=round((own + taught) * (4 + 4 + OPTIMIZER_BYTES["adamw"])),
        activations=max(face + round(each * DECODED_SHARE * resolution * resolution), photos),
    )


def _need(config: TrainConfig, family: Family, precision: str, by_role: bool) -> Need:
    """Return what the training needs, or the reward after it where that is asked for and needs more."""
    step = _training_need(config, family, precision, by_role)
    if not config.enable_rl:
        return step
    rewarded = reward(
        family,
        resolution=config.resolution,
        rank=config.rank,
        precision=precision,
        checkpointing=config.gradient_checkpointing,
        train_text=config.train_text_encoder,
        by_role=by_role,
    )
    return max(step, rewarded, key=lambda need: need.total)


def _training_need(config: TrainConfig, family: Family, precision: str, by_role: bool) -> Need:
    need = training(
        family,
        resolution=config.resolution,
        batch=config.train_batch_size,
        rank=config.rank,
        precision=precision,
        checkpointing=config.gradient_checkpointing,
        optimizer=config.optimizer,
        train_text=config.train_text_encoder,
    )
    if not by_role:
        return need
    numbers = families.spec(family).memory
    unused = numbers.vae * _VAE_WIDTH + (0 if config.train_text_encoder else numbers.text * _width(precision))
    return replace(need, weights=need.weights - unused)


def _width(precision: str) -> int:
    """Return how many bytes a number takes."""
    return {"fp16": 2, "bf16": 2, "no": 4}[precision]


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
