"""Train the four ControlNets (canny, openpose, color, tile) over the frozen UNet.

    python tools/bench/train_controlnets.py --work build/bench --minutes 30
    python tools/bench/train_controlnets.py --init models/bench --kinds color --begin color=tile --device cuda

A kind begins as it lies in WORK or in the folder that `--init` names, else as the UNet's own encoder.

The kinds take turns step by step (`--shares` sets how often each comes). Condition pictures are made from the cached
frames, which need `latents.py --pictures`. The color control learns from noisier pictures than the others, and its loss
counts the means of squares as well (see coarse_loss). Resumes from WORK/control_state.pt; writes averaged weights to
WORK/controlnet/KIND and curves to WORK/controlnets.csv and .png.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchkit import CONTROL_KINDS, WORK, Log, Pack, autocast, layout, say
from conditions import condition
from latents import Cache
from learner import Clock, Learner, add_emphasis, load_state, rate_factor, save_state, training_parser
from noise import Noise
from parts import find_part, load_frozen, load_tokenizer, make_controlnet, need_part
from torch import nn
from train_unet import Data

PLAIN = ("conv_in", "time_embedding", "controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block")
FOCUS, COARSE_FOCUS = (300, 900), (450, 1000)
"""The t where a control has most to say: below, the noisy picture itself shows the structure, colours still earlier."""
COARSE_KINDS, COARSE_CELL = ("color",), 4
"""Whose condition says the mean of every square, and the side of the squares in latents."""


def coarse_loss(difference: torch.Tensor, odds: torch.Tensor) -> torch.Tensor:
    """Mean squared error of v in the means over squares of COARSE_CELL latents.

    `difference`: predicted noise less the noise, (N, C, H, W). `odds`: 1 / signal at the t of each, (N,), which the
    caller may limit: what turns noise's error into that of v. A colour that is wrong all over is next to nothing in
    noise's error at the t where it is decided; in v, and in the mean, it is nearly all. Scaled such that error without
    any pattern counts as it would without taking means.
    """
    means = nn.functional.avg_pool2d(difference * odds[:, None, None, None], COARSE_CELL)
    return (means * COARSE_CELL).pow(2).mean()


COLUMNS = ("step", "seconds", "rate", "without", *CONTROL_KINDS, *(f"{kind}_means" for kind in COARSE_KINDS))


class Run:
    """The frozen model, the ControlNets, and what their checkpoints hold."""

    def __init__(self, options: argparse.Namespace) -> None:
        from diffusers import ControlNetModel, UNet2DConditionModel
        from transformers import CLIPTextModel

        torch.manual_seed(options.seed)
        self.options, self.device = options, torch.device(options.device)
        torch.set_float32_matmul_precision("high")
        tokenizer = load_tokenizer(need_part("tokenizer", options.work, options.init))
        cache = Cache.load(options.latents or options.work / "latents.pt")
        self.data = Data(Pack(options.pack), cache, tokenizer, options.texts, self.device)
        self.unet = load_frozen(UNet2DConditionModel, need_part("unet", options.work, options.init), self.device)
        self.unet.to(memory_format=layout(self.device))
        self.text = load_frozen(CLIPTextModel, need_part("text_encoder", options.work, options.init), self.device)
        self.noises = {
            kind: Noise(self.device, COARSE_FOCUS if kind in COARSE_KINDS else FOCUS) for kind in options.kinds
        }
        self.learners: dict[str, Learner] = {}
        for kind in options.kinds:
            begun = options.begin.get(kind, kind)
            source = find_part(f"controlnet/{begun}", options.work, options.init)
            if source is not None:
                control = ControlNetModel.from_pretrained(source, torch_dtype=torch.float32)
            else:
                control = make_controlnet(self.unet)
            control.requires_grad_(True).to(self.device, memory_format=layout(self.device))
            rates = (options.muon_rate, options.adam_rate)
            self.learners[kind] = Learner(control, rates, options.average, PLAIN)
        self.clock, self.step = Clock(options.steps, options.minutes), 0
        self.log = Log(options.work / "controlnets.csv", COLUMNS)
        self._path = options.work / "control_state.pt"
        self._restore()

    def _restore(self) -> None:
        state = load_state(self._path)
        if not state:
            return
        for kind, saved in state["controls"].items():
            if kind in self.learners:
                self.learners[kind].load_state_dict(saved)
        self.step = state["step"]
        self.clock.resume(state["seconds"])

    def predict(
        self, kind: str | None, noisy: torch.Tensor, times: torch.Tensor, tokens: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """Predicted noise with one control that sees the condition `seen`, or with none."""
        with autocast(self.device):
            with torch.no_grad():
                context = self.text(tokens).last_hidden_state
            extra: dict[str, Any] = {}
            if kind is not None:
                down, middle = self.learners[kind].module(
                    noisy, times, encoder_hidden_states=context, controlnet_cond=seen, return_dict=False
                )
                extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
            output = self.unet(noisy, times, encoder_hidden_states=context, **extra).sample
        return output.float()  # type: ignore[no-any-return]

    def train_step(self, kind: str, factor: float) -> torch.Tensor:
        """One update of one kind; its mean squared error, still on the device."""
        options, noise = self.options, self.noises[kind]
        rng = np.random.default_rng([options.seed, 3, self.step])
        generator = torch.Generator(self.device).manual_seed(options.seed * 1_000_003 + 500_000_000 + self.step)
        batch = self.data.draw(options.batch, rng)
        seen = condition(kind, batch.bucket, batch.places).contiguous(memory_format=layout(self.device))
        random = torch.randn(batch.clean.shape, generator=generator, device=self.device)
        times = noise.draw(len(batch.clean), rng).to(self.device, non_blocking=True)
        noisy = noise.add(batch.clean, random, times).contiguous(memory_format=layout(self.device))
        difference = self.predict(kind, noisy, times, batch.tokens, seen) - random
        error = difference.pow(2)
        emphasis = noise.emphasis(times, options.emphasis)
        weights = batch.weights * emphasis[:, None, None, None]
        loss = (error * weights).mean().div(weights.mean())
        if kind in COARSE_KINDS:
            loss = loss + options.coarse * coarse_loss(difference, emphasis)
        torch.autograd.backward(loss)
        self.learners[kind].step(factor)
        self.step += 1
        return error.detach().mean()

    @torch.no_grad()
    def held_losses(self) -> dict[str, float]:
        """Loss on 24 judging portraits over t = 100..900, per kind and without any control; for the kinds that have one
        also the loss of the means."""
        judged = self.data.judged
        places = torch.arange(len(judged), device=self.device)[:: max(1, len(judged) // 24)][:24]
        clean, tokens = judged.latents[places].float(), self.data.judged_tokens[places].long()
        times = torch.linspace(100, 900, len(places)).long().to(self.device)
        random = torch.randn(clean.shape, generator=torch.Generator().manual_seed(11)).to(self.device)
        losses, noise = {}, Noise(self.device)
        noisy = noise.add(clean, random, times)
        for kind in [None, *self.learners]:
            output = self.predict(kind, noisy, times, tokens, condition(kind or "canny", judged, places))
            losses[kind or "without"] = float((output - random).pow(2).mean())
            if kind in COARSE_KINDS:
                odds = noise.emphasis(times, self.options.emphasis)
                losses[f"{kind}_means"] = float(coarse_loss(output - random, odds))
        return losses

    def checkpoint(self) -> None:
        """Save the state and the averaged weights; measure."""
        controls = {kind: learner.state_dict() for kind, learner in self.learners.items()}
        save_state(self._path, {"controls": controls, "step": self.step, "seconds": self.clock.seconds})
        for kind, learner in self.learners.items():
            with learner.averaged() as control:
                control.save_pretrained(self.options.work / "controlnet" / kind)
        self.log.add(step=self.step, seconds=self.clock.seconds, **self.held_losses())


def train(options: argparse.Namespace) -> None:
    """Train until --steps or --minutes are over."""
    run = Run(options)
    order = [kind for kind, share in zip(options.kinds, options.shares, strict=True) for _ in range(share)]
    saved = time.monotonic()
    sums: dict[str, list[torch.Tensor]] = {kind: [] for kind in options.kinds}
    while (progress := run.clock.progress(run.step)) < 1:
        kind = order[(run.step * 7) % len(order) if len(order) % 7 else run.step % len(order)]
        factor = rate_factor(run.step, progress, warmup=options.warmup, decay_from=0.5)
        sums[kind].append(run.train_step(kind, factor))
        if run.step % options.every == 0:
            means = {name: float(torch.stack(values).mean()) for name, values in sums.items() if values}
            say(f"step {run.step}, {run.clock.seconds:.0f} s, loss {means}")
            sums = {name: [] for name in options.kinds}
        if time.monotonic() - saved > options.save_seconds:
            run.checkpoint()
            saved = time.monotonic()
    run.checkpoint()
    run.log.plot()


def main() -> None:
    """Command line."""
    parser = training_parser(__doc__, batch=12, rates=(2e-3, 2e-3), average=0.99, every=40)
    parser.add_argument("--pack", type=Path, default=WORK / "sources.npz")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--latents", type=Path, help="default: WORK/latents.pt")
    parser.add_argument("--init", type=Path, help="an exported folder to start from (warm start)")
    parser.add_argument("--texts", type=int, default=2, help="captions drawn for each cached frame")
    parser.add_argument("--begin", default="", help="with --init: kinds that begin as another, such as color=tile")
    parser.add_argument("--kinds", default=",".join(CONTROL_KINDS))
    parser.add_argument("--shares", default="3,2,2,3", help="turns of each kind")
    parser.add_argument("--minutes", type=float, default=0)
    add_emphasis(parser)
    parser.add_argument("--coarse", type=float, default=1.0, help="weight of the means' loss for the color control")
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--save-seconds", type=float, default=200)
    options = parser.parse_args()
    options.kinds = options.kinds.split(",")
    options.begin = dict(pair.split("=") for pair in options.begin.split(",") if pair)
    options.shares = [int(share) for share in options.shares.split(",")]
    say(f"training ControlNets: {vars(options)}")
    train(options)


if __name__ == "__main__":
    main()
