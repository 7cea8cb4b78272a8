"""The steps of a training: each adds noise to latents, lets the UNet predict it, and does one step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from easyphoto.config import TrainConfig
from easyphoto.errors import AssetMissing, TrainingFailed
from easyphoto.sd import finite
from easyphoto.sd.parts import Parts
from easyphoto.sd.precision import fast_bf16
from easyphoto.training import draws, encoded_captions
from easyphoto.training.dataset import LatentSet
from easyphoto.training.encoded_captions import EncodedCaptions
from easyphoto.training.lora import TrainedLora

if TYPE_CHECKING:
    from accelerate import Accelerator

MAX_GRADIENT = 1.0
WEIGHT_DECAY = 1e-2


class Trainer:
    """Trains one LoRA, step by step. The loss of a step follows from the seed, the step's number and the weights
    alone."""

    def __init__(
        self,
        parts: Parts,
        lora: TrainedLora,
        latents: LatentSet,
        captions: Sequence[str],
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        """``captions`` has one text for each picture, which is half as many as there are latents."""
        from diffusers import DDPMScheduler

        self._parts, self._lora, self._latents, self._config = parts, lora, latents, config
        self._accelerator = accelerator
        self._counts = latents.counts(config.face_weight)
        self._noise = DDPMScheduler.from_config(dict(parts.scheduler_config))
        self._prediction = str(getattr(parts.prediction, "value", parts.prediction))
        self._texts = list(dict.fromkeys(captions))
        self._text_of = [self._texts.index(c) for c in captions for _ in range(2)]
        self._ids = encoded_captions.tokens(parts, self._texts)
        self._cached: EncodedCaptions | None = None
        self._bring()
        self._parameters = lora.parameters()
        self._optimizer: Any = accelerator.prepare(make_optimizer(self._parameters, config))

    @property
    def config(self) -> TrainConfig:
        """How the LoRA is trained."""
        return self._config

    @property
    def latents(self) -> LatentSet:
        """What the LoRA is trained on."""
        return self._latents

    def step(self, number: int) -> float:
        """Do step ``number`` (from 1) and return its mean loss. Raises :class:`TrainingFailed` when the loss is not
        finite."""
        config = self._config
        size = config.train_batch_size * config.gradient_accumulation_steps
        source = draws.generator(config.seed, "step", number)
        items = draws.batch(config.seed, number, size, len(self._latents))
        clean = self._latents.sample(items, source)
        noise = torch.randn(clean.shape, generator=source)
        times = draws.timesteps(source, size, int(self._noise.config.num_train_timesteps))
        self._lora.train(config.gradient_checkpointing)
        self._bring()
        total = 0.0
        for start in range(0, size, config.train_batch_size):
            part = slice(start, start + config.train_batch_size)
            with self._accelerator.accumulate():
                loss = self._loss(items[part], clean[part], noise[part], times[part])
                self._accelerator.backward(loss)
                if self._accelerator.sync_gradients:
                    self._accelerator.clip_grad_norm_(self._parameters, MAX_GRADIENT)
                self._optimizer.step()
                self._optimizer.zero_grad()
            total += float(loss.detach())
        mean = total / config.gradient_accumulation_steps
        if not math.isfinite(mean):
            if any(finite.broken(part) for part in (self._parts.unet, *self._parts.text_encoders)):
                raise TrainingFailed(
                    "The base model {path} is broken: it holds numbers that are none (NaN).", path=self._parts.path.name
                )
            raise TrainingFailed(
                "The loss became {mean} at step {number}: lower the learning rate or change precision.",
                mean=mean,
                number=number,
            )
        return mean

    @torch.no_grad()
    def encoded(self) -> EncodedCaptions:
        """Return all captions, encoded as the LoRA is now, without a gradient. Whoever doesn't teach the text encoders
        encodes once and has no further use for them."""
        if self._cached is not None:
            return self._cached
        self._parts.placement.use(*self._parts.text_encoders)
        return encoded_captions.encode(self._parts, self._ids, self._latents.pixels)

    def denoising_loss(self, items: Sequence[int], source: torch.Generator, captions: EncodedCaptions) -> Tensor:
        """Return the loss of one step on these latents, with its gradient to the UNet, at noise that ``source`` draws.
        ``captions`` are those of :meth:`encoded`. Nothing is changed. The caller brings the UNet to the device."""
        clean = self._latents.sample(items, source)
        noise = torch.randn(clean.shape, generator=source)
        times = draws.timesteps(source, len(items), int(self._noise.config.num_train_timesteps))
        return self._loss(items, clean, noise, times, captions)

    def optimizer_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._optimizer.state_dict()
        return state

    def scaler_state(self) -> dict[str, Any]:
        scaler = self._accelerator.scaler
        return {} if scaler is None else dict(scaler.state_dict())

    def restore(self, optimizer: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Take over the state of an earlier training."""
        self._bring()
        self._optimizer.load_state_dict(optimizer)
        if self._accelerator.scaler is not None and scaler:
            self._accelerator.scaler.load_state_dict(scaler)

    def _bring(self) -> None:
        """Bring what a step uses to the device. This comes before the optimiser is made: its state lies where the
        trained numbers do."""
        encoders = self._parts.text_encoders
        if self._lora.trains_text:
            self._parts.placement.use(self._parts.unet, *encoders)
            return
        if self._cached is None:
            self._cached = self.encoded()
        self._parts.placement.use(self._parts.unet)

    def _loss(
        self,
        items: Sequence[int],
        clean: Tensor,
        noise: Tensor,
        times: Tensor,
        captions: EncodedCaptions | None = None,
    ) -> Tensor:
        device, dtype = self._parts.device, self._parts.dtype
        clean, noise, times = clean.to(device), noise.to(device), times.to(device)
        noisy = self._noise.add_noise(clean, noise, times)
        target = self._noise.get_velocity(clean, noise, times) if self._prediction == "v_prediction" else noise
        with self._accelerator.autocast():
            told = self._told(items) if captions is None else captions.take([self._text_of[i] for i in items])
            guess = self._parts.unet(noisy.to(dtype), times, **told.unet_arguments(), return_dict=False)[0]
        each = self._mean_counted(mse_loss(guess.float(), target, reduction="none"), items)
        return (each * self._weights(times)).mean()

    def _mean_counted(self, errors: Tensor, items: Sequence[int]) -> Tensor:
        """Return the mean error of each item over the part that its photo covers, in which the face may count more."""
        if self._counts is None:
            return errors.flatten(1).mean(1)
        counts = self._counts[list(items)].to(errors.device)
        return (errors * counts).flatten(1).mean(1) / counts.flatten(1).mean(1)

    def _told(self, items: Sequence[int]) -> EncodedCaptions:
        rows = [self._text_of[i] for i in items]
        pixels = self._latents.pixels
        if self._lora.trains_text:
            # Every distinct caption once, however often it is in the batch.
            needed = sorted(set(rows))
            fresh = encoded_captions.encode(self._parts, [ids[needed] for ids in self._ids], pixels)
            return fresh.take([needed.index(r) for r in rows])
        assert self._cached is not None
        return self._cached.take(rows)

    def _weights(self, times: Tensor) -> Tensor:
        """Return the Min-SNR weights of the loss at each time: equation 8 of Hang et al., 2023, and its appendix for
        velocity."""
        gamma = self._config.snr_gamma
        if gamma <= 0:
            return torch.ones(len(times), device=times.device)
        kept = self._noise.alphas_cumprod.to(times.device)[times].float()
        ratio = kept / (1 - kept)
        bounded = ratio.clamp(max=gamma)
        return torch.as_tensor(bounded / (ratio + 1 if self._prediction == "v_prediction" else ratio))


def make_optimizer(parameters: Sequence[Tensor], config: TrainConfig) -> Any:
    """Return the optimiser that the options name. Raises :class:`AssetMissing` when its package is not installed."""
    if config.optimizer == "adamw8bit":
        try:
            import bitsandbytes  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise AssetMissing("adamw8bit needs the package bitsandbytes: install it or choose adamw.") from error
        return bitsandbytes.optim.AdamW8bit(parameters, lr=config.learning_rate, weight_decay=WEIGHT_DECAY)
    if config.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(
            parameters, lr=config.learning_rate, scale_parameter=False, relative_step=False, warmup_init=False
        )
    try:
        return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    except (RuntimeError, TypeError):
        # Older torch has the fused kernel for CUDA only.
        return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=WEIGHT_DECAY)


def steps(trainer: Trainer, first: int, last: int, stop: Callable[[], bool]) -> Iterator[tuple[int, float]]:
    """Do the steps ``first`` to ``last`` and yield each number with its loss. End early when ``stop`` says so."""
    for number in range(first, last + 1):
        if stop():
            return
        yield number, trainer.step(number)


def precision(config: TrainConfig, device: torch.device) -> str:
    """Return ``fp16``, ``bf16`` or ``no``: what the options ask for, or for ``auto`` the precision in which the device
    is fast."""
    if config.mixed_precision != "auto":
        return "no" if config.mixed_precision == "fp16" and device.type == "cpu" else config.mixed_precision
    if device.type == "cuda":
        return "bf16" if fast_bf16(device) else "fp16"
    return "no"


def weight_type(mixed: str) -> torch.dtype:
    """Return the type of the frozen weights under a mixed precision."""
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(mixed, torch.float32)
