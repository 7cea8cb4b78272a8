"""The loop of a sampler over one job, open to gradients.

Nothing here switches gradients off: whoever only wants a picture calls it inside ``torch.no_grad()``, as
:mod:`easyphoto.sd.render` does. Whoever trains through it says how many of the last steps keep their gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from easyphoto.errors import InvalidRequest
from easyphoto.ports import ControlRole, IdentityKind, Image, Mask, OnStep, PreviewWatcher, Txt2Img
from easyphoto.sd import control, pasting, samplers, strategies, vae
from easyphoto.sd.adapter import Cue
from easyphoto.sd.parts import Parts
from easyphoto.sd.projection import Projection
from easyphoto.sd.prompt_embedding import PromptEmbedding, encode

ControlNets = Mapping[ControlRole | IdentityKind, Any]

MAX_SEED = 2**63 - 1
LEARNED_FROM = 8
"""The longer side, in latent pixels, of what is decoded to learn the colours of a preview."""


@dataclass
class Sampling:
    """One run of a sampler over one job. Where ``mask`` is 0, the picture stays ``original``; both are latents."""

    parts: Parts
    job: Txt2Img
    scheduler: Any
    context: torch.Tensor
    added: dict[str, torch.Tensor] | None
    hints: list[control.Hint]
    soft: bool
    generator: torch.Generator
    told: tuple[torch.Tensor, ...] = ()
    """What the adapters that the UNet wears are told, one tensor each."""
    original: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    known: tuple[Image, torch.Tensor] | None = None
    """A picture with its latents, from which previews learn what latents look like."""
    projection: Projection | None = None

    @classmethod
    def prepare(
        cls, parts: Parts, job: Txt2Img, controlnets: ControlNets, *, soft: bool, cues: Sequence[Cue] = ()
    ) -> Sampling:
        """``cues`` are those of the adapters that the UNet wears (see :func:`easyphoto.sd.adapter.worn`)."""
        _check(parts, job)
        scheduler = samplers.create(job.sampler, parts.scheduler_config)
        samplers.set_steps(scheduler, job.steps, parts.device)
        positive, negative = encode(parts, job.prompt, job.negative_prompt)
        sides = [negative, positive] if job.cfg_scale != 1 else [positive]
        context = torch.cat([s.context for s in sides]).to(parts.dtype)
        like = torch.empty(0, dtype=parts.dtype, device=parts.device)
        size = (job.height, job.width)
        made = control.hints(job.controls, controlnets, size, like) + control.placings(cues, controlnets, size, like)
        generator = torch.Generator("cpu").manual_seed(job.seed)
        told = tuple(cue.sides(len(sides) > 1).to(like) for cue in cues)
        return cls(parts, job, scheduler, context, _added(parts, job, sides), made, soft, generator, told)

    def noise(self) -> torch.Tensor:
        scale = self.parts.pixels_per_latent
        shape = (1, self.parts.vae.config.latent_channels, self.job.height // scale, self.job.width // scale)
        return torch.randn(shape, generator=self.generator).to(self.parts.device)

    def hold(self, original: torch.Tensor, blurred: Mask) -> None:
        """Keep ``original`` outside the mask. A latent pixel is repainted where the mask is above one half."""
        self.original = original
        self.mask = mask_of(blurred, original)

    def add_noise(self, original: torch.Tensor, noise: torch.Tensor, begin: int) -> torch.Tensor:
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(begin)
        noisy: torch.Tensor = self.scheduler.add_noise(original, noise, self.scheduler.timesteps[begin : begin + 1])
        return noisy

    def run(
        self, latents: torch.Tensor, begin: int, on_step: OnStep | None, *, with_gradient: int | None = None
    ) -> torch.Tensor:
        """Return the latents after all steps from ``begin`` on.

        ``with_gradient`` says how many of the last steps keep their gradient, where gradients are on at all; None means
        all of them. A sampler of several steps remembers predictions of the steps before, which then count as
        constants.
        """
        self.parts.placement.use(*self.at_work())
        timesteps = self.scheduler.timesteps[begin:]
        constant = 0 if with_gradient is None else max(0, len(timesteps) - with_gradient)
        random = {"generator": self.generator} if "generator" in _parameters(self.scheduler) else {}
        for index, t in enumerate(timesteps):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= constant):
                x = self.scheduler.scale_model_input(latents, t)
                output = self.guided(x, t)
                if self.mask is not None:
                    output = self.blend(x, t, output, begin + index)
                latents = self.scheduler.step(output, t, latents, return_dict=False, **random)[0]
            if isinstance(on_step, PreviewWatcher) and on_step.wants_preview():
                self.show(self.clean(x, output, *self._signal_and_noise(t, begin + index)), on_step)
            if on_step is not None:
                on_step(index + 1, len(timesteps))
        return latents if self.mask is None else self.under_mask(latents)

    def at_work(self) -> list[Any]:
        """Return the models that every step needs."""
        return [self.parts.unet, *(hint.model for hint in self.hints)]

    def guided(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the model's prediction with classifier-free guidance, float32. Both sides go through the model in one
        batch."""
        sides = self.context.shape[0]
        batch = x.to(self.parts.dtype).expand(sides, -1, -1, -1)
        if batch.device.type == "cpu":
            batch = batch.contiguous(memory_format=torch.channels_last)
        more: dict[str, Any] = {"added_cond_kwargs": self.added} if self.added else {}
        extra = control.residuals(self.hints, batch, t, self.context, soft=self.soft, tokens=self._tokens(), **more)
        if self.told:
            more["added_cond_kwargs"] = {**(self.added or {}), "image_embeds": list(self.told)}
        if extra is not None:
            more["down_block_additional_residuals"] = extra.down
            more["mid_block_additional_residual"] = extra.mid
        output = self.parts.unet(batch, t, encoder_hidden_states=self.context, return_dict=False, **more)[0].float()
        if sides == 1:
            return torch.as_tensor(output)
        negative, positive = output.chunk(2)
        return torch.as_tensor(negative + self.job.cfg_scale * (positive - negative))

    def _tokens(self) -> list[torch.Tensor]:
        """Return what the nets of the adapters make of what they are told, where a ControlNet attends to that."""
        if all(hint.attends is None for hint in self.hints):
            return []
        return [made.flatten(1, 2) for made in self.parts.unet.encoder_hid_proj(list(self.told))]

    def blend(self, x: torch.Tensor, t: torch.Tensor, output: torch.Tensor, index: int) -> torch.Tensor:
        """Return the prediction whose clean picture is the original outside the mask.

        With ``x`` = a x0 + s e and a^2 + s^2 = 1, a model predicts e, or v = a e - s x0.
        """
        a, s = self._signal_and_noise(t, index)
        clean = self.under_mask(self.clean(x, output, a, s))
        if self._predicts_v:
            return (a * x - clean) / s
        return (x - a * clean) / s

    def clean(self, x: torch.Tensor, output: torch.Tensor, a: float, s: float) -> torch.Tensor:
        """Return the latents of the picture that the prediction ``output`` aims at; see :meth:`blend`."""
        return a * x - s * output if self._predicts_v else (x - s * output) / a

    @property
    def _predicts_v(self) -> bool:
        return bool(self.scheduler.config.prediction_type == "v_prediction")

    @torch.no_grad()
    def show(self, clean: torch.Tensor, watcher: PreviewWatcher) -> None:
        """Give ``watcher`` a picture of the latents ``clean``, where that costs little."""
        if self.projection is None:
            self.projection = self._projection(clean)
        if self.projection is not None:
            watcher.preview(self.projection.picture(clean))

    def _projection(self, clean: torch.Tensor) -> Projection | None:
        """Return what shows latents: learned from the known picture, or from a small decoded copy of ``clean``; None
        where the VAE would have to take the place of what works now."""
        if self.known is not None:
            return Projection.learned(self.known[1], _pixels(self.known[0]) / 255)
        if self.parts.placement.by_role:
            return None
        scale = min(1.0, LEARNED_FROM / max(clean.shape[-2:]))
        small = torch.nn.functional.interpolate(clean, scale_factor=scale, mode="area")
        return Projection.learned(small, decode_in_place(self.parts, small))

    def under_mask(self, clean: torch.Tensor) -> torch.Tensor:
        if self.mask is None or self.original is None:
            return clean
        return clean * self.mask + self.original * (1 - self.mask)

    def _signal_and_noise(self, t: torch.Tensor, index: int) -> tuple[float, float]:
        sigmas = getattr(self.scheduler, "sigmas", None)
        if sigmas is not None:
            sigma = float(sigmas[index])
            a = (1 + sigma * sigma) ** -0.5
            return a, sigma * a
        power = float(self.scheduler.alphas_cumprod[int(t)])
        return power**0.5, (1 - power) ** 0.5


def encode_image(parts: Parts, image: Image) -> torch.Tensor:
    """Return the latents (1, 4, height/8, width/8), float32, of a picture: the mean of the VAE's posterior, scaled."""
    pixels = (_pixels(image) / 127.5 - 1).to(parts.device, parts.vae.dtype)
    parts.placement.use(parts.vae)
    mean = vae.posterior(parts.vae, pixels).mode()
    config = parts.vae.config
    latents: torch.Tensor = (mean.float() - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor
    return latents


def _pixels(image: Image) -> torch.Tensor:
    """Return a picture as float32 (1, 3, height, width) in [0, 255]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0).float()


def decode(parts: Parts, latents: torch.Tensor) -> torch.Tensor:
    """Return the pixels (1, 3, height, width), float32 in [0, 1], of latents. Raises FloatingPointError when they are
    no picture."""
    parts.placement.use(parts.vae)
    return decode_in_place(parts, latents)


def decode_in_place(parts: Parts, latents: torch.Tensor) -> torch.Tensor:
    """:func:`decode` for whoever has brought the VAE to the device and wants everything else to stay there too."""
    config = parts.vae.config
    scaled = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
    pixels = vae.decode(parts.vae, scaled.to(parts.vae.dtype)).float()
    if not bool(torch.isfinite(pixels).all()):
        raise FloatingPointError("the model made numbers that are no picture")
    return (pixels / 2 + 0.5).clamp(0, 1)


def mask_of(blurred: Mask, original: torch.Tensor) -> torch.Tensor:
    """Return 1 for each pixel of the latents ``original`` where the mask is above one half, and else 0: (1, 1, h,
    w)."""
    height, width = original.shape[-2:]
    return torch.from_numpy(pasting.latent_mask(blurred, width, height))[None, None].to(original.device)


def picture(pixels: torch.Tensor) -> Image:
    """Return the first of ``pixels`` (n, 3, height, width) in [0, 1] as a picture."""
    array: Image = (pixels * 255).round().to(torch.uint8)[0].permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def _parameters(scheduler: Any) -> Mapping[str, Any]:
    return inspect.signature(scheduler.step).parameters


def _check(parts: Parts, job: Txt2Img) -> None:
    unit = parts.pixels_per_latent
    if job.width % unit or job.height % unit or min(job.width, job.height) < unit:
        raise InvalidRequest(
            "Width and height must be multiples of {unit} pixels, not {width} x {height}.",
            unit=unit,
            width=job.width,
            height=job.height,
        )
    if job.steps < 1:
        raise InvalidRequest("A picture takes at least 1 step, not {steps}.", steps=job.steps)
    if not 0 <= job.seed <= MAX_SEED:
        raise InvalidRequest("The seed must be from 0 to {max_seed}, not {seed}.", max_seed=MAX_SEED, seed=job.seed)


def _added(parts: Parts, job: Txt2Img, sides: list[PromptEmbedding]) -> dict[str, torch.Tensor] | None:
    pooled = [s.pooled for s in sides if s.pooled is not None]
    like = torch.empty(0, dtype=parts.dtype, device=parts.device)
    vectors = torch.cat(pooled).to(parts.dtype) if pooled else None
    return strategies.of(parts.family).added(vectors, (job.height, job.width), like)
