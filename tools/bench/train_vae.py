"""Train the VAE: 4 latent channels, factor 8, on random crops of the packed portraits.

    python tools/bench/train_vae.py --pack build/bench/pack.npz --work build/bench --minutes 20

Loss: L1 + 0.5 * L1 of the picture's gradients + 0.5 * L1 of its colour axes + 3e-4 * KL, where a face counts
`--face` times the background, and its eyes and mouth twice that. Resumes from WORK/vae_state.pt; writes WORK/vae
(averaged weights, diffusers layout, with the measured scaling factor), WORK/vae.csv and .png. `--decoder-only` goes on
with the encoder (and so the latents that the UNet knows) fixed; `--adversarial 0.3` then adds a patch critic whose
gradient is that share of the error's and works in faces alone, which buys texture with a little PSNR.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchkit import (
    SIZE,
    WORK,
    Image,
    Log,
    Pack,
    View,
    autocast,
    say,
    to_tensor,
)
from critic import Adversary, mixed
from latents import weight_map
from learner import Clock, Learner, load_state, rate_factor, save_state, training_parser
from torch.nn import functional

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (16, 48, 96, 128),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": 256,
}


def weighted_mean(error: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of `error` (N, C, H, W) under `weights` (N, 1, at least H, at least W), cut to its size."""
    cut = weights[..., : error.shape[-2], : error.shape[-1]]
    return (error * cut).mean() / cut.mean()


def gradient_loss(difference: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """L1 distance of horizontal and vertical differences."""
    across = (difference[..., 1:] - difference[..., :-1]).abs()
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs()
    return weighted_mean(across, weights) + weighted_mean(down, weights)


def colour_loss(difference: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """L1 distance of red-green and blue-yellow. RGB errors alone let a young VAE drop a whole axis of colour."""
    red, green, blue = difference[:, 0:1], difference[:, 1:2], difference[:, 2:3]
    return weighted_mean((red - green).abs() + (blue - (red + green) / 2).abs(), weights)


Sample = tuple[Image, View, torch.Tensor]
"""A picture, what is known of it, and how much each of its pixels counts, (256, 256)."""


def pixel_weights(view: View, face: float) -> torch.Tensor:
    """1 in the background, `face` in the face, twice that at eyes and mouth."""
    points = None if view.landmarks is None else np.array(view.landmarks, np.float32)
    cells = weight_map(points, (SIZE, SIZE)).float()
    levels = torch.where(cells > 4, 2 * face, torch.where(cells > 2, face, 1.0))
    return functional.interpolate(levels[None, None], scale_factor=8, mode="bilinear")[0, 0]


def crops(pictures: list[Sample], rng: np.random.Generator, count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, half of them around a point of the face, half mirrored, and their weights.

    Channels_last in [-1, 1], (count, 3, side, side); (count, 1, side, side).
    """
    chosen, weights = [], []
    for index in rng.integers(len(pictures), size=count):
        picture, view, weight = pictures[int(index)]
        room = picture.shape[0] - side
        x, y = rng.integers(room + 1), rng.integers(room + 1)
        if view.face is not None and rng.random() < 0.5:
            corner = (np.array(view.face[:2]) + rng.random(2) * (np.array(view.face[2:]) - view.face[:2])) - side / 2
            x, y = np.clip(corner.round().astype(np.int64), 0, room)
        cut, part = picture[y : y + side, x : x + side], weight[y : y + side, x : x + side]
        mirrored = rng.random() < 0.5
        chosen.append(cut[:, ::-1] if mirrored else cut)
        weights.append(part.flip(1) if mirrored else part)
    return to_tensor(chosen).contiguous(memory_format=torch.channels_last), torch.stack(weights)[:, None]


@torch.no_grad()
def evaluate(vae: Any, pictures: list[Image], device: torch.device) -> tuple[float, float]:
    """Mean PSNR in dB of the round trip (latent mean, rounded output) and the standard deviation of the latents."""
    scores, latents = [], []
    for picture in pictures:
        image = to_tensor([picture]).to(device)
        latent = vae.encode(image).latent_dist.mean
        output = vae.decode(latent).sample.clamp(-1, 1)
        error = float(((output - image) / 2).pow(2).mean())
        scores.append(-10 * math.log10(max(error, 1e-10)))
        latents.append(latent.flatten())
    return float(np.mean(scores)), float(torch.cat(latents).std())


class Run:
    """One training run and everything that its checkpoints hold."""

    def __init__(self, options: argparse.Namespace) -> None:
        from diffusers import AutoencoderKL

        torch.manual_seed(options.seed)
        self.options, self.device = options, torch.device(options.device)
        pack = Pack(options.pack)
        self.pictures: list[Sample] = [
            (pack.image(i), pack.views[i], pixel_weights(pack.views[i], options.face)) for i in pack.indices(held=False)
        ]
        unseen = [pack.image(i) for i in pack.indices(held=True)]
        self.unseen = unseen[:: max(1, len(unseen) // options.check)][: options.check]
        self.vae = AutoencoderKL.from_pretrained(options.init).float() if options.init else AutoencoderKL(**CONFIG)
        self.vae.to(device=self.device, memory_format=torch.channels_last)
        if options.decoder_only:
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)
        plain = ("conv_in", "conv_out", "quant_conv")
        rates = (options.muon_rate, options.adam_rate)
        self.learner = Learner(self.vae, rates, options.average, plain)
        self.adversary = Adversary(self.device) if options.adversarial > 0 else None
        self.clock, self.step = Clock(options.steps, options.minutes), 0
        name = "decoder" if options.decoder_only else "vae"
        columns = ["step", "seconds", "rate", "loss", "kl", "psnr", "latent_std"]
        self.log = Log(options.work / f"{name}.csv", columns)
        self._path = options.work / f"{name}_state.pt"
        state = load_state(self._path)
        if state:
            self.learner.load_state_dict(state)
            if self.adversary and "adversary" in state:
                self.adversary.load_state_dict(state["adversary"])
            self.step = state["step"]
            self.clock.resume(state["seconds"])

    def train_step(self, factor: float) -> tuple[float, float]:
        """One update; its reconstruction loss and its KL."""
        options = self.options
        rng = np.random.default_rng([options.seed, self.step])
        batch, weights = (part.to(self.device) for part in crops(self.pictures, rng, options.batch, options.crop))
        with autocast(self.device):
            posterior = self.vae.encode(batch).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            latent = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
            output = self.vae.decode(latent).sample.float()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).sum(1).mean()
        difference = output - batch
        loss = weighted_mean(difference.abs(), weights) + 0.5 * gradient_loss(difference, weights)
        objective = loss + options.colour * colour_loss(difference, weights)
        if self.adversary:
            (error,) = torch.autograd.grad(objective, output, retain_graph=True)
            self.adversary.learn(batch, output)
            # In faces alone: the background's texture costs as many decibels and nobody looks at it.
            texture = self.adversary.gradient(output) * (weights - 1)
            output.backward(mixed(error, texture, options.adversarial))
        else:
            (objective + 3e-4 * kl).backward()
        self.learner.step(factor)
        self.step += 1
        return float(loss.detach()), float(kl.detach())

    def checkpoint(self) -> None:
        """Save the state, measure the averaged weights on held-out pictures, write them as WORK/vae."""
        state = {**self.learner.state_dict(), "step": self.step, "seconds": self.clock.seconds}
        if self.adversary:
            state["adversary"] = self.adversary.state_dict()
        save_state(self._path, state)
        with self.learner.averaged():
            score, deviation = evaluate(self.vae, self.unseen, self.device)
            if not self.options.decoder_only:
                self.vae.register_to_config(scaling_factor=round(1 / deviation, 5))
            self.vae.save_pretrained(self.options.work / "vae")
        self.log.add(step=self.step, seconds=self.clock.seconds, psnr=score, latent_std=deviation)


def train(options: argparse.Namespace) -> None:
    """Train until --steps or --minutes are over."""
    run = Run(options)
    saved, sums = time.monotonic(), []
    while (progress := run.clock.progress(run.step)) < 1:
        factor = rate_factor(run.step, progress, decay_from=options.decay_from)
        sums.append(run.train_step(factor))
        if run.step % options.every == 0:
            loss, kl = np.mean(sums, axis=0)
            run.log.add(step=run.step, seconds=run.clock.seconds, rate=factor, loss=loss, kl=kl)
            sums = []
        if time.monotonic() - saved > options.save_seconds:
            run.checkpoint()
            saved = time.monotonic()
    run.checkpoint()
    run.log.plot()


def main() -> None:
    """Command line."""
    parser = training_parser(__doc__, batch=16, rates=(4e-3, 2e-3), average=0.995, every=50)
    parser.add_argument("--pack", type=Path, default=WORK / "pack.npz")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--init", type=Path, help="a VAE folder to start from (warm start)")
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--colour", type=float, default=0.5, help="weight of the colour loss")
    parser.add_argument("--adversarial", type=float, default=0.0, help="share of the critic; with --decoder-only")
    parser.add_argument("--face", type=float, default=2.0, help="how much more than the background a face counts")
    parser.add_argument("--decay-from", type=float, default=0.5)
    parser.add_argument("--check", type=int, default=24, help="held-out pictures measured at each save")
    parser.add_argument("--save-seconds", type=float, default=150)
    options = parser.parse_args()
    if options.adversarial > 0 and not options.decoder_only:
        parser.error("--adversarial goes with --decoder-only: a critic would bend the latents")
    if options.adversarial > 0 and options.face <= 1:
        parser.error("--adversarial needs --face above 1: the critic works where faces count more than the background")
    say(f"training the VAE: {vars(options)}")
    train(options)


if __name__ == "__main__":
    main()
