"""Train the UNet and the text encoder together on cached latents.

    python tools/bench/latents.py ...                    # once
    python tools/bench/train_unet.py --work build/bench --minutes 80
    python tools/bench/train_unet.py --work build/bench --init models/bench --device cuda --batch 64 --steps 20000

Epsilon prediction on SD's scaled-linear schedule. t is stratified over the batch, with half the density outside
50..700 (the portrait chain lives at strength 0.3 to 0.65); noisy steps count up to `--emphasis` times more.

Resumes from WORK/unet_state.pt; writes averaged weights to WORK/unet and WORK/text_encoder, curves to WORK/unet.csv and
.png. The held-out loss is that of the averaged weights on fixed noise, in three bands of t.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchkit import (
    WORK,
    Log,
    Pack,
    autocast,
    layout,
    say,
)
from learner import Clock, Learner, load_state, rate_factor, save_state
from parts import SCHEDULE, load_tokenizer, make_text_encoder, make_unet, need_part
from tokenizer import NEGATIVE, TRIGGER
from torch import nn

BANDS = ((50, 350), (350, 700), (700, 1000))
PRAISE = ("best quality", "high quality", "masterpiece", "realistic", "detailed face", "soft light", "sharp focus")


class Model(nn.Module):
    """UNet and text encoder as one module, so that optimizer, average and state see both."""

    def __init__(self, unet: Any, text_encoder: Any) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Predicted noise."""
        context = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, times, encoder_hidden_states=context).sample  # type: ignore[no-any-return]


class Noise:
    """The schedule's two factors, and how t is drawn: inside `focus` twice as often as elsewhere."""

    def __init__(self, device: torch.device, focus: tuple[int, int] = (50, 700)) -> None:
        start, end = SCHEDULE["beta_start"], SCHEDULE["beta_end"]
        betas = torch.linspace(start**0.5, end**0.5, 1000, dtype=torch.float64) ** 2
        kept = torch.cumprod(1 - betas, 0)
        self._signal = kept.sqrt().float().to(device)
        self._noise = (1 - kept).sqrt().float().to(device)
        self._odds = (1 / kept).sqrt().float().to(device)
        density = np.full(1000, 0.5)
        density[focus[0] : focus[1]] = 1.0
        self._cumulative = np.concatenate([[0.0], np.cumsum(density) / density.sum()])

    def draw(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """`count` steps t, one from each equal slice of the distribution."""
        places = (np.arange(count) + rng.random(count)) / count
        return torch.from_numpy(np.searchsorted(self._cumulative, places, side="right") - 1).clamp(0, 999)

    def emphasis(self, times: torch.Tensor, most: float) -> torch.Tensor:
        """How much more the noise at t counts, (N,) from 1 to `most`: sqrt(1 + 1/SNR(t)).

        Alike in epsilon, noisy steps would hardly teach anything: nearly all of their input is the answer, and a wrong
        face costs little. sqrt lies halfway between epsilon's loss and that of v (Salimans and Ho, "Progressive
        distillation for fast sampling of diffusion models", 2022).
        """
        return self._odds[times].clamp(max=most)

    def add(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """The noisy latents at t."""
        return self._signal[times, None, None, None] * clean + self._noise[times, None, None, None] * noise


def vary(caption: str, kind: str, rng: np.random.Generator) -> str:
    """The caption as training sees it: plain, with the trigger words, with praise, as a bare trigger or dropped.

    A tenth is dropped (half of it as a list of negative words, so that a negative prompt means as little as none).
    """
    draw = rng.random()
    if draw < 0.05:
        return ""
    if draw < 0.10:
        words = [word.strip() for word in NEGATIVE.split(",") if word.strip()]
        return ", ".join(rng.permutation(words)[: int(rng.integers(3, 20))])
    if draw < 0.17:
        return TRIGGER
    text = caption
    if kind == "tight" and rng.random() < 0.5:
        text += ", close-up"
    if draw < 0.35:
        text = f"{TRIGGER}, {text}"
    if rng.random() < 0.25:
        text += ", " + ", ".join(rng.permutation(list(PRAISE))[: int(rng.integers(1, 4))])
    return text


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Token numbers, padded to 77 as the pipelines do."""
    encoded = tokenizer(list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    return encoded["input_ids"]  # type: ignore[no-any-return]


class Data:
    """Cached latents with their weights and captions, split in two."""

    def __init__(self, pack: Pack, cache: dict[str, Any]) -> None:
        self.latents: torch.Tensor = cache["latents"]
        self.weights: torch.Tensor = cache["weights"]
        self._views = [pack.views[int(owner)] for owner in cache["owners"]]
        self.train = np.array([i for i, view in enumerate(self._views) if not view.held])
        self.held = np.array([i for i, view in enumerate(self._views) if view.held and view.face is not None])

    def caption(self, index: int, rng: np.random.Generator | None) -> str:
        """The caption of a latent; varied when `rng` is given."""
        view = self._views[index]
        return view.caption if rng is None else vary(view.caption, view.kind, rng)

    def choose(self, step: int, count: int, seed: int) -> NDArrayInt:
        """The latents of one step: epochs in a new order each, the same for the same seed and step."""
        per_epoch = len(self.train) // count
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, 1, epoch]).permutation(self.train)
        return order[place * count : (place + 1) * count]


NDArrayInt = np.ndarray[Any, np.dtype[np.int64]]


@torch.no_grad()
def held_loss(model: Model, data: Data, tokenizer: Any, noise: Noise, device: torch.device) -> list[float]:
    """Mean squared error of the noise on 48 held-out latents in each band of t."""
    chosen = data.held[:: max(1, len(data.held) // 48)][:48]
    losses = []
    for low, high in BANDS:
        total = []
        for start in range(0, len(chosen), 16):
            part = chosen[start : start + 16]
            generator = torch.Generator().manual_seed(start + low)
            clean = data.latents[part].float().to(device)
            random = torch.randn(clean.shape, generator=generator).to(device)
            times = torch.linspace(low, high - 1, len(part)).long().to(device)
            tokens = tokens_of(tokenizer, [data.caption(int(i), None) for i in part]).to(device)
            with autocast(device):
                output = model(noise.add(clean, random, times), times, tokens)
            total.append(float((output.float() - random).pow(2).mean()))
        losses.append(float(np.mean(total)))
    return losses


def build(options: argparse.Namespace, tokenizer: Any) -> Model:
    """The model, new or from an exported folder."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    if options.init:
        unet = UNet2DConditionModel.from_pretrained(options.init, subfolder="unet", torch_dtype=torch.float32)
        text = CLIPTextModel.from_pretrained(options.init, subfolder="text_encoder", torch_dtype=torch.float32)
        return Model(unet, text)
    return Model(make_unet(), make_text_encoder(tokenizer))


class Run:
    """One training run and everything that its checkpoints hold."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.device = torch.device(options.device)
        self.tokenizer = load_tokenizer(need_part("tokenizer", options.work, options.init))
        cache = load_state(options.latents or options.work / "latents.pt")
        if cache is None:
            raise SystemExit("no cached latents: run tools/bench/latents.py first")
        self.data = Data(Pack(options.pack), cache)
        self.noise = Noise(self.device)
        self.model = build(options, self.tokenizer).to(self.device)
        self.model.to(memory_format=layout(self.device))  # type: ignore[call-overload]
        plain = ("conv_in", "conv_out", "time_embedding")
        self.learner = Learner(self.model, (options.muon_rate, options.adam_rate), options.average, plain)
        self.clock, self.step = Clock(options.steps, options.minutes), 0
        self.log = Log(
            options.work / "unet.csv", ["step", "seconds", "rate", "loss", "held_low", "held_middle", "held_high"]
        )
        self._path = options.work / "unet_state.pt"
        state = load_state(self._path)
        if state:
            self.learner.load_state_dict(state)
            self.step = state["step"]
            self.clock.resume(state["seconds"])

    def train_step(self, factor: float) -> float:
        """One update; the mean squared error of its batch."""
        options, device = self.options, self.device
        rng = np.random.default_rng([options.seed, 2, self.step])
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + self.step)
        chosen = self.data.choose(self.step, options.batch, options.seed)
        clean = self.data.latents[chosen].float()
        random = torch.randn(clean.shape, generator=generator).to(device)
        times = self.noise.draw(len(chosen), rng).to(device)
        noisy = self.noise.add(clean.to(device), random, times).contiguous(memory_format=layout(device))
        tokens = tokens_of(self.tokenizer, [self.data.caption(int(i), rng) for i in chosen]).to(device)
        weights = self.data.weights[chosen].float().to(device)[:, None]
        weights = weights * self.noise.emphasis(times, options.emphasis)[:, None, None, None]
        with autocast(device):
            output = self.model(noisy, times, tokens)
        error = (output.float() - random).pow(2)
        torch.autograd.backward((error * weights).mean().div(weights.mean()))
        self.learner.step(factor)
        self.step += 1
        return float(error.detach().mean())

    def checkpoint(self, measure: bool) -> None:
        """Save the state and the averaged weights; measure the held-out loss when asked."""
        save_state(self._path, {**self.learner.state_dict(), "step": self.step, "seconds": self.clock.seconds})
        with self.learner.averaged():
            self.model.unet.save_pretrained(self.options.work / "unet")
            self.model.text_encoder.save_pretrained(self.options.work / "text_encoder")
            if not measure:
                return
            low, middle, high = held_loss(self.model, self.data, self.tokenizer, self.noise, self.device)
        self.log.add(step=self.step, seconds=self.clock.seconds, held_low=low, held_middle=middle, held_high=high)


def train(options: argparse.Namespace) -> None:
    """Train until --steps or --minutes are over."""
    run = Run(options)
    saved, total, seen, saves = time.monotonic(), 0.0, 0, 0
    while (progress := run.clock.progress(run.step)) < 1:
        factor = rate_factor(run.step, progress, warmup=options.warmup, decay_from=options.decay_from)
        total, seen = total + run.train_step(factor), seen + 1
        if not math.isfinite(total):
            raise SystemExit(f"the loss is not finite at step {run.step}")
        if run.step % options.every == 0:
            run.log.add(step=run.step, seconds=run.clock.seconds, rate=factor, loss=total / seen)
            total, seen = 0.0, 0
        if time.monotonic() - saved > options.save_seconds:
            saves += 1
            run.checkpoint(measure=saves % 2 == 0)
            saved = time.monotonic()
    run.checkpoint(measure=True)
    run.log.plot()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, default=WORK / "pack.npz")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--latents", type=Path, help="default: WORK/latents.pt")
    parser.add_argument("--init", type=Path, help="an exported folder to start from (warm start)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--muon-rate", type=float, default=3e-3)
    parser.add_argument("--adam-rate", type=float, default=1e-3)
    parser.add_argument("--emphasis", type=float, default=6.0, help="at most so much more do noisy steps count")
    parser.add_argument("--average", type=float, default=0.997)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--decay-from", type=float, default=0.45)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--save-seconds", type=float, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    say(f"training UNet and text encoder: {vars(options)}")
    train(options)


if __name__ == "__main__":
    main()
