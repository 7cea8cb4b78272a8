"""Pictures from a loaded model: text to picture, picture to picture, inpainting.

The sampling follows what WebUIs do, so that settings mean here what they mean there: the number of steps of img2img,
classifier-free guidance, prompt weights, and a mask under which the original is put back into the *prediction of the
clean picture* at every step and pasted in pixels at the end. All randomness comes from one generator on the CPU seeded
with the job's seed, so on one machine equal jobs give equal pixels, and noise doesn't depend on the device.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.ports import ControlRole, Image, Img2Img, Mask, OnStep, Rendered, Txt2Img
from easyphoto.sd import control, samplers, vae
from easyphoto.sd.conditioning import Conditioning, encode
from easyphoto.sd.parts import Parts

ControlNets = Mapping[ControlRole, Any]

MAX_SEED = 2**63 - 1


def txt2img(
    parts: Parts,
    job: Txt2Img,
    controlnets: ControlNets | None = None,
    on_step: OnStep | None = None,
    *,
    soft_control: bool = True,
) -> Rendered:
    """A picture of (job.height, job.width) from text.

    Controls must be maps (``Control.is_map``) and have their model in ``controlnets``. LoRAs are what ``parts`` already
    holds: ``job.loras`` and tags in the prompt aren't looked at. ``soft_control`` is ControlNet's "my prompt is more
    important". ``on_step`` is called after each step and may raise to end the work. :class:`InvalidRequest` for sizes
    that the model can't make and unknown samplers.
    """
    with torch.no_grad():
        sampling = _Sampling.prepare(parts, job, controlnets or {}, soft=soft_control)
        noise = sampling.noise()
        latents = sampling.run(noise * sampling.scheduler.init_noise_sigma, 0, on_step)
        return Rendered(_decode(parts, latents), job.seed)


def img2img(
    parts: Parts,
    job: Img2Img,
    controlnets: ControlNets | None = None,
    on_step: OnStep | None = None,
    *,
    soft_control: bool = True,
) -> Rendered:
    """A picture from ``job.image``, scaled to (job.height, job.width) if it is of another size; like :func:`txt2img`.

    Runs int(steps x strength) + 1 steps. With a mask, pixels where the blurred mask is 0 come back bit-identical.
    """
    if not 0 < job.denoising_strength <= 1:
        raise InvalidRequest(f"The denoising strength must be above 0 and at most 1, not {job.denoising_strength}.")
    with torch.no_grad():
        sampling = _Sampling.prepare(parts, job, controlnets or {}, soft=soft_control)
        image = _fit(job.image, job.width, job.height)
        blurred = None if job.mask is None else blur(_fit(job.mask, job.width, job.height), job.mask_blur)
        original = encode_image(parts, image)
        if blurred is not None:
            sampling.hold(original, blurred)
        begin = job.steps - samplers.steps_to_run(job.steps, job.denoising_strength)
        start = sampling.add_noise(original, sampling.noise(), begin)
        result = _decode(parts, sampling.run(start, begin, on_step))
        if blurred is not None:
            result = paste(image, result, blurred)
        return Rendered(result, job.seed)


def blur(mask: Mask, sigma: float) -> Mask:
    """A mask feathered by a Gaussian of ``sigma`` pixels that reaches 2.5 sigma far, as WebUIs blur theirs."""
    if sigma <= 0:
        return mask
    size = 2 * int(2.5 * sigma + 0.5) + 1
    soft: Mask = np.clip(cv2.GaussianBlur(mask, (size, size), sigma), 0, 1).astype(np.float32)
    return soft


def paste(original: Image, painted: Image, blurred: Mask) -> Image:
    """``painted`` over ``original``: fully where the blurred mask is 0.5 or more, the rest faded; exact where it is 0.

    The doubling keeps all that was repainted (latents change where the mask is above 0.5) and fades outside of it.
    """
    alpha = np.clip(blurred * 2, 0, 1)[..., None]
    mixed = np.rint(original * (1 - alpha) + painted * alpha).astype(np.uint8)
    return np.where(blurred[..., None] == 0, original, mixed)


def encode_image(parts: Parts, image: Image) -> torch.Tensor:
    """Latents (1, 4, height/8, width/8), float32, of a picture: the mean of the VAE's posterior, scaled."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0)
    pixels = (pixels.float() / 127.5 - 1).to(parts.device, parts.vae.dtype)
    parts.placement.use(parts.vae)
    with torch.no_grad():
        mean = vae.posterior(parts.vae, pixels).mode()
    config = parts.vae.config
    latents: torch.Tensor = (mean.float() - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor
    return latents


def _decode(parts: Parts, latents: torch.Tensor) -> Image:
    config = parts.vae.config
    scaled = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
    parts.placement.use(parts.vae)
    pixels = vae.decode(parts.vae, scaled.to(parts.vae.dtype)).float()
    if not bool(torch.isfinite(pixels).all()):
        raise FloatingPointError("the model made numbers that are no picture")
    array: Image = (
        ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).contiguous().cpu().numpy()
    )
    return array


def _fit(picture: Any, width: int, height: int) -> Any:
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = picture.shape[0] * picture.shape[1] > height * width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    scaled = cv2.resize(picture, (width, height), interpolation=way if picture.ndim == 3 else cv2.INTER_LINEAR)
    return scaled.astype(picture.dtype)


@dataclass
class _Sampling:
    """One run of a sampler over one job."""

    parts: Parts
    job: Txt2Img
    scheduler: Any
    context: torch.Tensor
    added: dict[str, torch.Tensor] | None
    hints: list[control.Hint]
    soft: bool
    generator: torch.Generator
    original: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @classmethod
    def prepare(cls, parts: Parts, job: Txt2Img, controlnets: ControlNets, *, soft: bool) -> _Sampling:
        _check(parts, job)
        scheduler = samplers.create(job.sampler, parts.scheduler_config)
        samplers.set_steps(scheduler, job.steps, parts.device)
        positive, negative = encode(parts, job.prompt, job.negative_prompt)
        sides = [negative, positive] if job.cfg_scale != 1 else [positive]
        context = torch.cat([s.context for s in sides]).to(parts.dtype)
        like = torch.empty(0, dtype=parts.dtype, device=parts.device)
        made = control.hints(job.controls, controlnets, (job.height, job.width), like)
        generator = torch.Generator("cpu").manual_seed(job.seed)
        return cls(parts, job, scheduler, context, _added(parts, job, sides), made, soft, generator)

    def noise(self) -> torch.Tensor:
        scale = self.parts.pixels_per_latent
        shape = (1, self.parts.vae.config.latent_channels, self.job.height // scale, self.job.width // scale)
        return torch.randn(shape, generator=self.generator).to(self.parts.device)

    def hold(self, original: torch.Tensor, blurred: Mask) -> None:
        """Keep ``original`` outside the mask. A latent pixel is repainted where the mask is above one half."""
        height, width = original.shape[-2:]
        small = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_AREA)
        self.original = original
        self.mask = torch.from_numpy(np.rint(small).astype(np.float32))[None, None].to(original.device)

    def add_noise(self, original: torch.Tensor, noise: torch.Tensor, begin: int) -> torch.Tensor:
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(begin)
        noisy: torch.Tensor = self.scheduler.add_noise(original, noise, self.scheduler.timesteps[begin : begin + 1])
        return noisy

    def run(self, latents: torch.Tensor, begin: int, on_step: OnStep | None) -> torch.Tensor:
        self.parts.placement.use(self.parts.unet, *(hint.model for hint in self.hints))
        timesteps = self.scheduler.timesteps[begin:]
        random = {"generator": self.generator} if "generator" in _parameters(self.scheduler) else {}
        for index, t in enumerate(timesteps):
            x = self.scheduler.scale_model_input(latents, t)
            output = self.guided(x, t)
            if self.mask is not None:
                output = self.blend(x, t, output, begin + index)
            latents = self.scheduler.step(output, t, latents, return_dict=False, **random)[0]
            if on_step is not None:
                on_step(index + 1, len(timesteps))
        return latents if self.mask is None else self.under_mask(latents)

    def guided(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The model's prediction with classifier-free guidance, float32; both sides go through in one batch."""
        sides = self.context.shape[0]
        batch = x.to(self.parts.dtype).expand(sides, -1, -1, -1)
        if batch.device.type == "cpu":
            batch = batch.contiguous(memory_format=torch.channels_last)
        more: dict[str, Any] = {"added_cond_kwargs": self.added} if self.added else {}
        extra = control.residuals(self.hints, batch, t, self.context, soft=self.soft, **more)
        if extra is not None:
            more["down_block_additional_residuals"] = extra.down
            more["mid_block_additional_residual"] = extra.mid
        output = self.parts.unet(batch, t, encoder_hidden_states=self.context, return_dict=False, **more)[0].float()
        if sides == 1:
            return torch.as_tensor(output)
        negative, positive = output.chunk(2)
        return torch.as_tensor(negative + self.job.cfg_scale * (positive - negative))

    def blend(self, x: torch.Tensor, t: torch.Tensor, output: torch.Tensor, index: int) -> torch.Tensor:
        """The prediction whose clean picture is the original outside the mask.

        ``x`` = a x0 + s e with a^2 + s^2 = 1; a model predicts e, or v = a e - s x0.
        """
        a, s = self._signal_and_noise(t, index)
        if self.scheduler.config.prediction_type == "v_prediction":
            clean = self.under_mask(a * x - s * output)
            return (a * x - clean) / s
        clean = self.under_mask((x - s * output) / a)
        return (x - a * clean) / s

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


def _parameters(scheduler: Any) -> Mapping[str, Any]:
    return inspect.signature(scheduler.step).parameters


def _check(parts: Parts, job: Txt2Img) -> None:
    unit = parts.pixels_per_latent
    if job.width % unit or job.height % unit or min(job.width, job.height) < unit:
        raise InvalidRequest(f"Width and height must be multiples of {unit} pixels, not {job.width} x {job.height}.")
    if job.steps < 1:
        raise InvalidRequest(f"A picture takes at least 1 step, not {job.steps}.")
    if not 0 <= job.seed <= MAX_SEED:
        raise InvalidRequest(f"The seed must be from 0 to {MAX_SEED}, not {job.seed}.")


def _added(parts: Parts, job: Txt2Img, sides: list[Conditioning]) -> dict[str, torch.Tensor] | None:
    """SDXL's micro-conditioning: original size, crop corner, target size; and the pooled text."""
    if parts.family is not Family.SDXL:
        return None
    pooled = torch.cat([s.pooled for s in sides if s.pooled is not None]).to(parts.dtype)
    sizes = torch.tensor([[job.height, job.width, 0, 0, job.height, job.width]], dtype=parts.dtype)
    return {"text_embeds": pooled, "time_ids": sizes.expand(len(sides), -1).to(parts.device)}
