"""Clips from a loaded model and a motion module: from text, from one picture, and between two.

All frames go through the sampler at once, as the third dimension of the latents (1, 4, frames, height, width), in which
diffusers' own pipeline lays them too; so equal weights and seeds give equal clips. The model sees them in windows
(:mod:`easyphoto.sd.windows`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from easyphoto.errors import InvalidRequest
from easyphoto.ports import ClipJob, Image, OnStep
from easyphoto.sd import control, samplers, sampling
from easyphoto.sd.control import Hint, Residuals
from easyphoto.sd.parts import Parts
from easyphoto.sd.render import blur, fitted, paste
from easyphoto.sd.sampling import ControlNets, Sampling
from easyphoto.sd.windows import Window, windows

KEPT = (1.0, 0.7)
"""How much of the picture the first and the last frame of a clip from one picture begin with; the rest is noise."""
BETWEEN = (0.75, 0.25)
"""The share that the first picture has of the first and of the last frame of a clip between two."""


class ClipSampling(Sampling):
    """One run of a sampler over all frames of a :class:`ClipJob`."""

    pieces: tuple[Window, ...]
    guides: list[Hint]
    """The controls that have a picture of their own for each frame: ``picture`` is (frames, 3, height, width)."""

    def noise(self) -> torch.Tensor:
        scale = self.parts.pixels_per_latent
        assert isinstance(self.job, ClipJob)
        channels = self.parts.vae.config.latent_channels
        shape = (1, channels, self.job.frames, self.job.height // scale, self.job.width // scale)
        return torch.randn(shape, generator=self.generator).to(self.parts.device)

    def at_work(self) -> list[Any]:
        return [*super().at_work(), *(hint.model for hint in self.guides)]

    def guided(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the model's prediction for all frames: where windows overlap, the weighted mean of theirs."""
        found = torch.zeros(x.shape, device=x.device)
        for piece in self.pieces:
            weights = torch.tensor(piece.weights, device=x.device)[:, None, None]
            found[:, :, piece.frames] += weights * self._in(piece, x, t)
        return found

    def _in(self, piece: Window, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        sides, count = self.context.shape[0], len(piece.weights)
        batch = x[:, :, piece.frames].to(self.parts.dtype).expand(sides, -1, -1, -1, -1)
        context = self.context.repeat_interleave(count, 0)
        more: dict[str, Any] = {"added_cond_kwargs": self.added} if self.added else {}
        extra = self._residuals(piece, batch, t, context)
        if extra is not None:
            more["down_block_additional_residuals"] = extra.down
            more["mid_block_additional_residual"] = extra.mid
        output = self.parts.unet(batch, t, encoder_hidden_states=context, return_dict=False, **more)[0].float()
        if sides == 1:
            return torch.as_tensor(output)
        negative, positive = output.chunk(2)
        return torch.as_tensor(negative + self.job.cfg_scale * (positive - negative))

    def _residuals(
        self, piece: Window, batch: torch.Tensor, t: torch.Tensor, context: torch.Tensor
    ) -> Residuals | None:
        """Return what the controls add; they know no time, so that to them a window is a batch of pictures."""
        sides = batch.shape[0]
        own = [replace(h, picture=h.picture[piece.frames].repeat(sides, 1, 1, 1)) for h in self.guides]
        flat = batch.transpose(1, 2).flatten(0, 1)
        more: dict[str, Any] = {}
        if self.added:
            added = {name: value.repeat_interleave(len(piece.weights), 0) for name, value in self.added.items()}
            more["added_cond_kwargs"] = added
        return control.residuals([*self.hints, *own], flat, t, context, soft=self.soft, **more)


def animate(
    parts: Parts,
    job: ClipJob,
    controlnets: ControlNets | None = None,
    on_step: OnStep | None = None,
    *,
    soft_control: bool = True,
) -> list[Image]:
    """Return the frames of a clip. ``parts.unet`` has the motion module (:func:`easyphoto.sd.motion.compose`), and
    ``parts.scheduler_config`` is that of the noise on which the module was trained.

    The other arguments are those of :func:`easyphoto.sd.render.txt2img`. With ``job.image`` it runs int(steps x
    strength) + 1 steps. Raises :class:`InvalidRequest` for what can't be drawn, and FloatingPointError for numbers that
    are no picture.
    """
    _check(job)
    with torch.no_grad():
        work = _prepare(parts, job, controlnets or {}, soft=soft_control)
        begin = 0
        pictures = [fitted(picture, job.width, job.height) for picture in job.pictures]
        blurred = None if job.mask is None else blur(fitted(job.mask, job.width, job.height), job.mask_blur)
        if job.image is None and not pictures:
            start = work.noise() * work.scheduler.init_noise_sigma
        else:
            begin = job.steps - samplers.steps_to_run(job.steps, job.denoising_strength)
            if pictures:
                clean = torch.stack([sampling.encode_image(parts, picture) for picture in pictures], 2)
            else:
                clean = _stills(parts, job, work.noise())
            if pictures and blurred is not None:
                work.hold(clean, blurred)
            start = work.add_noise(clean, work.noise(), begin)
        latents = work.run(start, begin, on_step)
        frames = [sampling.picture(sampling.decode(parts, latents[:, :, index])) for index in range(job.frames)]
        if pictures and blurred is not None:
            frames = [paste(picture, frame, blurred) for picture, frame in zip(pictures, frames, strict=True)]
        return frames


def _check(job: ClipJob) -> None:
    if job.frames < 2:
        raise InvalidRequest("A clip that is drawn has at least 2 frames, not {frames}.", frames=job.frames)
    if job.pictures and len(job.pictures) != job.frames:
        raise InvalidRequest(
            "There are pictures for {count} frames of a clip that has {frames}.",
            count=len(job.pictures),
            frames=job.frames,
        )
    if (job.image is not None or job.pictures) and not 0 < job.denoising_strength <= 1:
        raise InvalidRequest(
            "The denoising strength must be above 0 and at most 1, not {denoising_strength}.",
            denoising_strength=job.denoising_strength,
        )
    if job.frame_controls and len(job.frame_controls) != job.frames:
        raise InvalidRequest(
            "There are controls for {count} frames of a clip that has {frames}.",
            count=len(job.frame_controls),
            frames=job.frames,
        )


def _prepare(parts: Parts, job: ClipJob, controlnets: ControlNets, *, soft: bool) -> ClipSampling:
    work = ClipSampling.prepare(parts, job, controlnets, soft=soft)
    assert isinstance(work, ClipSampling)
    longest = int(parts.unet.config["motion_max_seq_length"])
    length = min(job.context, longest)
    work.pieces = windows(job.frames, length, min(job.overlap, length - 1))
    like = torch.empty(0, dtype=parts.dtype, device=parts.device)
    rows = [control.hints(row, controlnets, (job.height, job.width), like) for row in job.frame_controls]
    work.guides = [
        replace(column[0], picture=torch.cat([hint.picture for hint in column])) for column in zip(*rows, strict=True)
    ]
    return work


def _stills(parts: Parts, job: ClipJob, noise: torch.Tensor) -> torch.Tensor:
    """Return the latents (1, 4, frames, height, width) that a clip from one picture, or between two, begins with."""
    assert job.image is not None
    first = sampling.encode_image(parts, fitted(job.image, job.width, job.height))[:, :, None]
    if job.last_image is None:
        kept = _line(KEPT, job.frames, first)
        return first * kept + noise * (1 - kept)
    last = sampling.encode_image(parts, fitted(job.last_image, job.width, job.height))[:, :, None]
    share = _line(BETWEEN, job.frames, first)
    return first * share + last * (1 - share)


def _line(ends: tuple[float, float], frames: int, like: torch.Tensor) -> torch.Tensor:
    values = np.linspace(*ends, frames, dtype=np.float32)
    return torch.from_numpy(values)[None, None, :, None, None].to(like.device)
