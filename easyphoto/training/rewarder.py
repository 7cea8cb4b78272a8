"""The steps of the reward: each paints faces into pictures, looks at them through the judge's own network, and follows
the gradient back into a small LoRA.

This is the last step of a sampler alone, as in DRaFT (Clark et al., 2024) with one step and ReFL (Xu et al., 2023): up
to two passes without a gradient bring a picture from the noise at which the repainting begins to a random amount of
noise, and one pass with a gradient says what the clean picture will be. Only the part around the face is decoded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from easyphoto.errors import TrainingFailed
from easyphoto.memory import REWARD_BATCH
from easyphoto.ports import GradientEmbedder
from easyphoto.sd import render, sampling, vae
from easyphoto.sd.parts import Parts
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import draws, encoded_captions, loop, reward_loss
from easyphoto.training.loop import Trainer
from easyphoto.training.reward_lora import RewardLora
from easyphoto.training.reward_loss import Jitter, PhotoRange, RewardTarget
from easyphoto.training.validation import STRENGTH, ValidationTemplate

BEGIN = STRENGTH
"""The noise at which a repainting begins, as a share of all."""
LEAST, MOST = 0.15, 0.56
"""Between these amounts of noise the clean picture is said with a gradient."""
PASSES = 2
"""At most so many passes without a gradient come before it."""
BATCH = REWARD_BATCH
"""So many faces are looked at in a step, and as many photos for the anchor."""
ANCHOR = 20.0
"""How much more a unit of the ordinary loss counts than a unit of likeness."""
OUTSIDE = 2.0
"""The same for the ordinary loss outside the face, where nothing is to change."""
QUALITY = 0.5
"""How much sharpness and saturation outside the photos' range count."""
KEEN = 3.0
"""How much it counts that a face is not as sharp as it has to be."""
SHARPER = 1.1
"""How much sharper than the person's LoRA alone would say it, from the same noise, a face has to be. Faces that were as
sharp in one pass still came out softer when all passes of a sampler had drawn them."""
RATE = 0.25
"""The learning rate, as a share of the training's."""
BETAS = (0.9, 0.99)
EDGE = 2
"""How many latents around the face are decoded with it, because the decoder looks that far."""

LatentBox: TypeAlias = tuple[int, int, int, int]
"""A part of the latents: top, bottom, left, right."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture that faces are painted into.

    ``clean`` are its latents (1, c, h, w), ``mask`` (1, 1, h, w) is 1 where they are painted anew, and ``pixels`` (1,
    3, H, W) in [0, 1] is the picture. ``alpha`` (1, 1, H, W) says how much of the painted picture is laid over it.
    ``place`` is the map (2, 3) of the judge's chip to the picture, and ``window`` the part of the latents that is
    decoded. ``shown`` says which of the person's photos the picture is; None for a template.
    """

    clean: Tensor
    mask: Tensor
    pixels: Tensor
    alpha: Tensor
    place: Tensor
    window: LatentBox
    shown: int | None = None


@dataclass(frozen=True)
class RewardStep:
    """What one step gave: the mean ``cosine`` of the faces before it, and the whole ``loss``."""

    cosine: float
    loss: float


@torch.no_grad()
def canvas(parts: Parts, template: ValidationTemplate, judge: GradientEmbedder, shown: int | None = None) -> Canvas:
    """Prepare a template, or a photo in the form of one. Its face lies where it was found before, and is never looked
    for in what is painted."""
    assert template.face is not None
    blurred = render.blur(template.mask, max(1, template.image.shape[1] // 64))
    clean = sampling.encode_image(parts, template.image)
    place = judge.chip_map(template.image, template.face)
    device = clean.device
    return Canvas(
        clean=clean,
        mask=sampling.mask_of(blurred, clean),
        pixels=torch.from_numpy(template.image.copy()).permute(2, 0, 1)[None].float().div(255).to(device),
        alpha=torch.from_numpy(np.clip(blurred * 2, 0, 1))[None, None].float().to(device),
        place=torch.from_numpy(place).float().to(device),
        window=_window(place, judge.chip_side, (clean.shape[2], clean.shape[3]), parts.pixels_per_latent),
        shown=shown,
    )


def _window(place: Any, side: int, size: tuple[int, int], scale: int) -> LatentBox:
    """The part of the latents that the chip lies in, with what the decoder needs around it."""
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ place.T / scale
    (left, top), (right, bottom) = np.floor(corners.min(0)) - EDGE, np.ceil(corners.max(0)) + EDGE
    return (
        max(0, min(int(top), size[0] - 1)),
        min(size[0], max(int(bottom), 1)),
        max(0, min(int(left), size[1] - 1)),
        min(size[1], max(int(right), 1)),
    )


@dataclass(frozen=True, eq=False)
class RewardAim:
    """What the faces are to be like: the photos, and the range of their sharpness and saturation."""

    target: RewardTarget
    sharpness: PhotoRange
    saturation: PhotoRange


class Rewarder:
    """Trains the small LoRA, step by step. A step follows from the seed, its number and the weights alone."""

    def __init__(
        self,
        parts: Parts,
        lora: RewardLora,
        trainer: Trainer,
        canvases: Sequence[Canvas],
        aim: RewardAim,
        judge: GradientEmbedder,
        accelerator: Any,
    ) -> None:
        """``trainer`` is that of the training before: it gives the anchor's loss and says how to learn."""
        self._parts, self._lora, self._trainer = parts, lora, trainer
        self._canvases, self._aim, self._judge, self._accelerator = canvases, aim, judge, accelerator
        self._config = trainer.config
        config = parts.scheduler_config
        self._powers = _powers(config)
        self._velocity = str(getattr(parts.prediction, "value", parts.prediction)) == "v_prediction"
        parts.placement.use(*parts.text_encoders)
        with torch.no_grad():
            ids = encoded_captions.tokens(parts, [TRIGGER])
            self._told = encoded_captions.encode(parts, ids, trainer.latents.pixels).unet_arguments()
        self._captions = trainer.encoded()
        # The text encoders learn nothing here, so nothing asks them again.
        self._used = (parts.unet, parts.vae)
        parts.placement.use(*self._used)
        self._weights = lora.parameters()
        rate = RATE * self._config.learning_rate
        made = torch.optim.AdamW(self._weights, lr=rate, betas=BETAS, weight_decay=loop.WEIGHT_DECAY)
        self._optimizer: Any = accelerator.prepare(made)

    def step(self, number: int) -> RewardStep:
        """Do step ``number`` (from 1). Raises :class:`TrainingFailed` when the loss is not finite."""
        config, source = self._config, draws.generator(self._config.seed, "reward", number)
        self._parts.placement.use(*self._used)
        self._lora.train(config.gradient_checkpointing)
        loss, cosines = 0.0, []
        for place in draws.batch(config.seed, number, BATCH, len(self._canvases)):
            one, cosine = self.face_loss(self._canvases[place], source)
            self._accelerator.backward(one / BATCH)
            loss += float(one.detach()) / BATCH
            cosines.append(cosine)
        items = draws.batch(config.seed, number, BATCH, len(self._trainer.latents))
        kept = ANCHOR * self._trainer.denoising_loss(items, source, self._captions)
        self._accelerator.backward(kept)
        loss += float(kept.detach())
        if not math.isfinite(loss):
            raise TrainingFailed("The loss of the reward became {loss} at step {number}.", loss=loss, number=number)
        self._accelerator.clip_grad_norm_(self._weights, loop.MAX_GRADIENT)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return RewardStep(float(np.mean(cosines)), loss)

    def face_loss(self, work: Canvas, source: torch.Generator) -> tuple[Tensor, float]:
        """Paint one face and return its loss, with its gradient, and its cosine to the photos."""
        device = work.clean.device
        noise = torch.randn(work.clean.shape, generator=source).to(device)
        times = self._times(source)
        jitter = Jitter.drawn(source)
        a, s = self._signal_and_noise(times[0])
        x = a * work.clean + s * noise
        for now, after in itertools.pairwise(times):
            with torch.no_grad():
                painted, _ = self._clean(x, now, work)
                x = self._renoised(x, painted, now, after)
        with self._lora.silent(), torch.no_grad():
            asked = SHARPER * reward_loss.sharpness(self._cut(x, times[-1], work, jitter)[0])
        cut, strayed = self._cut(x, times[-1], work, jitter)
        made, sharp = self._judge.embed_pixels(cut * 255)[0], reward_loss.sharpness(cut)
        aim = self._aim
        loss = aim.target.loss(made, work.shown) + KEEN * reward_loss.dulled(sharp, asked)
        loss = loss + QUALITY * aim.sharpness.excess(sharp)
        loss = loss + QUALITY * aim.saturation.excess(reward_loss.saturation(cut))
        return loss + OUTSIDE * strayed, float(aim.target.cosine(made.detach(), work.shown))

    def _cut(self, x: Tensor, t: int, work: Canvas, jitter: Jitter) -> tuple[Tensor, Tensor]:
        """The face that the model sees in ``x``, as the judge gets it, and the loss outside it."""
        painted, strayed = self._clean(x, t, work)
        picture, place = self._pasted(painted, work)
        return reward_loss.chip(picture, place, self._judge.chip_side, jitter), strayed

    def _times(self, source: torch.Generator) -> list[int]:
        """The amounts of noise of the passes; the last one is that with the gradient."""
        count = len(self._powers)
        passes = int(torch.randint(PASSES + 1, (1,), generator=source))
        most = LEAST + (MOST - LEAST) * self._config.timestep_fraction
        last = LEAST + (most - LEAST) * float(torch.rand(1, generator=source))
        shares = np.linspace(BEGIN, last, passes + 1) if passes else [BEGIN]
        return [min(count - 1, int(share * count)) for share in shares]

    def _signal_and_noise(self, t: int) -> tuple[float, float]:
        power = float(self._powers[t])
        return power**0.5, (1 - power) ** 0.5

    def _clean(self, x: Tensor, t: int, work: Canvas) -> tuple[Tensor, Tensor]:
        """The clean latents that the model sees in ``x``, the canvas's own outside the mask; and the ordinary loss out
        there, where the picture is known and is to stay."""
        a, s = self._signal_and_noise(t)
        time = torch.tensor([t], device=x.device)
        with self._accelerator.autocast():
            output = self._parts.unet(x.to(self._parts.dtype), time, **self._told, return_dict=False)[0].float()
        clean = a * x - s * output if self._velocity else (x - s * output) / a
        known = 1 - work.mask
        strayed = (known * (a / s * (clean - work.clean)).square()).sum() / (known.sum() * x.shape[1]).clamp_min(1)
        return work.mask * clean + known * work.clean, strayed

    def _renoised(self, x: Tensor, clean: Tensor, now: int, after: int) -> Tensor:
        """One step of DDIM without noise of its own (Song et al., 2021)."""
        (a, s), (b, r) = self._signal_and_noise(now), self._signal_and_noise(after)
        return b * clean + r * (x - a * clean) / s

    def _pasted(self, clean: Tensor, work: Canvas) -> tuple[Tensor, Tensor]:
        """The part of the picture around the face, painted and laid over the canvas; and where the chip lies in it."""
        top, bottom, left, right = work.window
        scale = self._parts.pixels_per_latent
        rows, columns = slice(top * scale, bottom * scale), slice(left * scale, right * scale)
        with vae.keeping_little(self._parts.vae) if self._config.gradient_checkpointing else nullcontext():
            decoded = sampling.decode_in_place(self._parts, clean[:, :, top:bottom, left:right])
        alpha = work.alpha[:, :, rows, columns]
        picture = decoded * alpha + work.pixels[:, :, rows, columns] * (1 - alpha)
        moved = work.place.clone()
        moved[:, 2] -= torch.tensor([left * scale, top * scale], dtype=moved.dtype, device=moved.device)
        return picture, moved

    def optimizer_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._optimizer.state_dict()
        return state

    def restore(self, optimizer: dict[str, Any]) -> None:
        """Take over the state of the optimiser that an earlier run left."""
        self._optimizer.load_state_dict(optimizer)


def _powers(scheduler: Any) -> Tensor:
    """How much of a picture is left at each amount of noise."""
    from diffusers import DDPMScheduler

    return torch.as_tensor(DDPMScheduler.from_config(dict(scheduler)).alphas_cumprod)


@torch.no_grad()
def aim(judge: GradientEmbedder, photos: Sequence[tuple[Tensor, Tensor]]) -> RewardAim:
    """Look at the photos, each as a picture (1, 3, h, w) in [0, 1] with the map of its chip."""
    cuts = [reward_loss.chip(picture, place, judge.chip_side) for picture, place in photos]
    vectors = torch.cat([judge.embed_pixels(cut * 255) for cut in cuts])
    return RewardAim(
        RewardTarget(vectors, max(judge.calibration.same_mean, 1e-3)),
        PhotoRange.of([float(reward_loss.sharpness(cut)) for cut in cuts]),
        PhotoRange.of([float(reward_loss.saturation(cut)) for cut in cuts]),
    )
