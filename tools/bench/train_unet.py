"""Train the UNet and the text encoder together on cached latents.

    python tools/bench/latents.py ...                    # once
    python tools/bench/train_unet.py --work build/bench --minutes 80
    python tools/bench/train_unet.py --init models/bench --device cuda --batch 256 --compile --minutes 5
    python tools/bench/train_unet.py --init build/bench --work build/face --face-loss 0.2 --minutes 1 ...

Epsilon prediction on SD's scaled-linear schedule. t is stratified over the batch, with half the density outside
50..700 (the portrait chain lives at strength 0.3 to 0.65); noisy steps count up to `--emphasis` times more.

Resumes from WORK/unet_state.pt; writes averaged weights to WORK/unet and WORK/text_encoder, curves to WORK/unet.csv and
.png. The held-out loss is that of the averaged weights on the judging portraits with fixed noise,
in three bands of t. `--face-loss` adds a loss that looks at decoded faces (see face_loss.py; it needs frames with
pictures).
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchkit import WORK, Log, Pack, autocast, layout, say
from captions import read, tokens_of
from face_loss import FaceLoss
from framing import Size
from latents import Bucket, Cache
from learner import Clock, Learner, add_emphasis, load_state, rate_factor, save_state, training_parser
from noise import BANDS, Noise
from parts import load_tokenizer, make_text_encoder, make_unet, need_part
from torch import nn


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


@dataclass(frozen=True)
class Batch:
    """What one step learns from, on its device: clean latents, loss weights (n, 1, h, w), tokens (n, 77), and the
    bucket and places that they come from."""

    clean: torch.Tensor
    weights: torch.Tensor
    tokens: torch.Tensor
    bucket: Bucket
    places: torch.Tensor


class Data:
    """Cached latents with several captions each, all on the device."""

    def __init__(self, pack: Pack, cache: Cache, tokenizer: Any, texts: int, device: torch.device) -> None:
        seen, rng = read(), np.random.default_rng(17)
        self._device = device
        self.train = {size: bucket.to(device) for size, bucket in cache.train.items()}
        self.judged = cache.judged.to(device)
        self._tokens: dict[Size, torch.Tensor] = {}
        for size, bucket in cache.train.items():
            rows = [seen[pack.views[int(owner)].file] for owner in bucket.owners]
            rows = [row.mirrored() if turned else row for row, turned in zip(rows, bucket.mirrored, strict=True)]
            said = [row.varied(near, rng) for row, near in zip(rows, bucket.close(), strict=True) for _ in range(texts)]
            tokens = tokens_of(tokenizer, said).reshape(len(rows), texts, -1)
            self._tokens[size] = torch.from_numpy(tokens).to(device)
        captions = [seen[pack.views[int(owner)].file].caption() for owner in cache.judged.owners]
        self.judged_tokens = torch.from_numpy(tokens_of(tokenizer, captions)).to(device)
        counts = np.array([len(bucket) for bucket in self.train.values()], np.float64)
        self._shares = np.cumsum(counts / counts.sum())

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """A random batch of one size: `count` of the smallest one, and of larger ones as many as take the same
        memory."""
        sizes = list(self.train)
        size = sizes[int(np.searchsorted(self._shares, rng.random(), side="right").clip(0, len(sizes) - 1))]
        bucket, smallest = self.train[size], min(w * h for w, h in sizes)
        count = max(1, count * smallest // (size[0] * size[1]))
        places = torch.from_numpy(rng.integers(len(bucket), size=count)).to(self._device, non_blocking=True)
        texts = torch.from_numpy(rng.integers(self._tokens[size].shape[1], size=count)).to(self._device)
        return Batch(
            clean=bucket.latents[places].float(),
            weights=bucket.weights[places].float()[:, None],
            tokens=self._tokens[size][places, texts].long(),
            bucket=bucket,
            places=places,
        )


@torch.no_grad()
def held_loss(model: Model, data: Data, noise: Noise, device: torch.device) -> list[float]:
    """Mean squared error of the noise on the judging portraits in each band of t."""
    losses, count = [], len(data.judged)
    for low, high in BANDS:
        total = []
        for start in range(0, count, 16):
            clean = data.judged.latents[start : start + 16].float()
            generator = torch.Generator().manual_seed(start + low)
            random = torch.randn(clean.shape, generator=generator).to(device)
            times = torch.linspace(low, high - 1, len(clean)).long().to(device)
            with autocast(device):
                output = model(noise.add(clean, random, times), times, data.judged_tokens[start : start + 16].long())
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
        torch.set_float32_matmul_precision("high")
        self.options = options
        self.device = torch.device(options.device)
        tokenizer = load_tokenizer(need_part("tokenizer", options.work, options.init))
        cache = Cache.load(options.latents or options.work / "latents.pt")
        self.data = Data(Pack(options.pack), cache, tokenizer, options.texts, self.device)
        self.noise = Noise(self.device)
        self.model = build(options, tokenizer).to(self.device)
        self.model.to(memory_format=layout(self.device))  # type: ignore[call-overload]
        self._unet = torch.compile(self.model.unet, dynamic=False) if options.compile else self.model.unet
        self.face = FaceLoss.load(options, self.noise, self.device) if options.face_loss > 0 else None
        plain = ("conv_in", "conv_out", "time_embedding")
        self.learner = Learner(self.model, (options.muon_rate, options.adam_rate), options.average, plain)
        self.clock, self.step, self.samples = Clock(options.steps, options.minutes), 0, 0
        columns = ["step", "samples", "seconds", "rate", "loss", "face", "held_low", "held_middle", "held_high"]
        self.log = Log(options.work / "unet.csv", columns)
        self._path = options.work / "unet_state.pt"
        state = load_state(self._path)
        if state:
            self.learner.load_state_dict(state)
            self.step, self.samples = state["step"], state["samples"]
            self.clock.resume(state["seconds"])

    def train_step(self, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """One update; the mean squared error of its batch and the face's loss, still on the device."""
        options, device = self.options, self.device
        rng = np.random.default_rng([options.seed, 2, self.step])
        generator = torch.Generator(device).manual_seed(options.seed * 1_000_003 + self.step)
        batch = self.data.draw(options.batch, rng)
        random = torch.randn(batch.clean.shape, generator=generator, device=device)
        times = self.noise.draw(len(batch.clean), rng).to(device, non_blocking=True)
        noisy = self.noise.add(batch.clean, random, times).contiguous(memory_format=layout(device))
        weights = batch.weights * self.noise.emphasis(times, options.emphasis)[:, None, None, None]
        with autocast(device):
            context = self.model.text_encoder(batch.tokens).last_hidden_state
            output = self._unet(noisy, times, encoder_hidden_states=context).sample
        error = (output.float() - random).pow(2)
        loss = (error * weights).mean().div(weights.mean())
        face = torch.zeros((), device=device)
        if self.face is not None:
            face = self.face(output.float(), noisy, times, batch.bucket, batch.places)
            loss = loss + options.face_loss * face
        torch.autograd.backward(loss)
        self.learner.step(factor)
        self.step += 1
        self.samples += len(batch.clean)
        return error.detach().mean(), face.detach()

    def checkpoint(self, measure: bool) -> None:
        """Save the state and the averaged weights; measure the held-out loss when asked."""
        save_state(
            self._path,
            {**self.learner.state_dict(), "step": self.step, "samples": self.samples, "seconds": self.clock.seconds},
        )
        with self.learner.averaged():
            self.model.unet.save_pretrained(self.options.work / "unet")
            self.model.text_encoder.save_pretrained(self.options.work / "text_encoder")
            if not measure:
                return
            low, middle, high = held_loss(self.model, self.data, self.noise, self.device)
        self.log.add(
            step=self.step,
            samples=self.samples,
            seconds=self.clock.seconds,
            held_low=low,
            held_middle=middle,
            held_high=high,
        )


def train(options: argparse.Namespace) -> None:
    """Train until --steps or --minutes are over."""
    run = Run(options)
    saved, saves = time.monotonic(), 0
    sums: list[tuple[torch.Tensor, torch.Tensor]] = []
    while (progress := run.clock.progress(run.step)) < 1:
        factor = rate_factor(run.step, progress, warmup=options.warmup, decay_from=options.decay_from)
        sums.append(run.train_step(factor))
        if run.step % options.every == 0:
            loss, face = (float(torch.stack(values).mean()) for values in zip(*sums, strict=True))
            if not math.isfinite(loss + face):
                raise SystemExit(f"the loss is not finite at step {run.step}")
            run.log.add(
                step=run.step, samples=run.samples, seconds=run.clock.seconds, rate=factor, loss=loss, face=face
            )
            sums = []
        if time.monotonic() - saved > options.save_seconds:
            saves += 1
            run.checkpoint(measure=saves % 2 == 0)
            saved = time.monotonic()
    run.checkpoint(measure=True)
    run.log.plot()


def main() -> None:
    """Command line."""
    parser = training_parser(__doc__, batch=16, rates=(3e-3, 1e-3), average=0.997, every=50)
    parser.add_argument("--pack", type=Path, default=WORK / "sources.npz")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--latents", type=Path, help="default: WORK/latents.pt")
    parser.add_argument("--init", type=Path, help="an exported folder to start from (warm start)")
    parser.add_argument("--minutes", type=float, default=0)
    add_emphasis(parser)
    parser.add_argument("--texts", type=int, default=4, help="captions drawn for each cached frame")
    parser.add_argument("--compile", action="store_true", help="compile the model: for a GPU")
    parser.add_argument("--face-loss", type=float, default=0.0, help="weight of the loss that looks at decoded faces")
    parser.add_argument("--face-batch", type=int, default=32, help="so many samples of a step are decoded for it")
    parser.add_argument("--face-net", type=Path, default=WORK / "dlib_net.safetensors")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--decay-from", type=float, default=0.45)
    parser.add_argument("--save-seconds", type=float, default=200)
    options = parser.parse_args()
    say(f"training UNet and text encoder: {vars(options)}")
    train(options)


if __name__ == "__main__":
    main()
