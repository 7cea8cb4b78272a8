"""Train a motion module for the bench checkpoint: temporal layers of AnimateDiff between those of the frozen UNet.

    python tools/bench/train_motion.py --init models/bench --device cuda --seconds 100
    python tools/bench/train_motion.py --init models/bench --pack build/bench/pack.npz --out build/bench/motion \\
        --device cuda --seconds 100 --make-seconds 15 --batch 16 --clips 3 --samples 4
    python tools/bench/train_motion.py --steps 3 --batch 1 --portraits 4 --frames 8     # whether it runs, on a CPU

The clips are made from the pack's portraits on the device (warped_clips.py), encoded once and kept there with the
embeddings of the texts; the loop waits for the device only where it logs, each 50 steps. Held-out portraits serve only
to measure. --seconds limits the training alone; before it go up to --make-seconds for the clips and some seconds of
loading, after it some seconds for --samples. What the gradients need is about 0.9 GB of the device's memory for each
clip of --batch.

Whenever it ends, by --steps, by --seconds or by SIGTERM, it writes the averaged weights to OUT as a diffusers
MotionAdapter in fp16 (7 MB). Beside OUT lie its curve (OUT.csv and .png) and, unless it was stopped, a sheet of samples
(OUT.jpg: two clips from text without and with the module, on the same noise, then held-out clips as they are, and
repainted without and with it).
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from benchkit import MODEL_DIR, WORK, Image, Log, Pack, autocast, layout, say, sheet, to_pictures
from captions import read
from contexts import Contexts
from learner import Clock, Learner, Stop, add_emphasis, rate_factor, training_parser
from noise import BANDS, Noise
from parts import BETAS, load_frozen
from torch import nn
from warped_clips import Portraits, load_portraits, render

ADAPTER: dict[str, Any] = {
    "motion_layers_per_block": 1,
    # At 8 px latents the middle block alone looks along time: nine such layers would not stay under 8 MB.
    "motion_transformer_layers_per_block": (1, 1, 0),
    "motion_num_attention_heads": 4,
    "motion_max_seq_length": 32,
    "use_motion_mid_block": True,
}
VARIANTS = 4
"""How many ways of saying it a caption has in training."""


@dataclass
class Clips:
    """Encoded clips on the device: latents (N x frames x 4 x h x w, scaled, float16) and each one's view."""

    latents: torch.Tensor
    owners: torch.Tensor


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def share_layers(unet: Any, adapter: Any) -> None:
    """Let the UNet use the adapter's own layers, so that what trains the one trains the other."""
    for mine, theirs in zip(
        (*unet.down_blocks, *unet.up_blocks), (*adapter.down_blocks, *adapter.up_blocks), strict=True
    ):
        mine.motion_modules = theirs.motion_modules
    unet.mid_block.motion_modules = adapter.mid_block.motion_modules


def make_models(init: Path, device: torch.device) -> tuple[Any, Any]:
    """The frozen UNet with motion layers, and these layers as an adapter that changes nothing yet."""
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    still = UNet2DConditionModel.from_pretrained(init / "unet").float()
    widths, groups = still.config.block_out_channels, still.config.norm_num_groups
    adapter = MotionAdapter(block_out_channels=widths, motion_norm_num_groups=groups, **ADAPTER)
    for name, module in adapter.named_modules():
        if name.endswith("proj_out") and isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    unet = UNetMotionModel.from_unet2d(still, adapter)
    share_layers(unet, adapter)
    unet.freeze_unet2d_params()
    unet.to(device, memory_format=layout(device))
    adapter.to(device)
    if device.type != "cpu":
        # Attention along time is many thousand rows of 16 frames, for which cuDNN would plan anew and long.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return unet, adapter


class Maker:
    """Makes clips of portraits and encodes them."""

    def __init__(self, init: Path, device: torch.device, frames: int) -> None:
        from diffusers import AutoencoderKL

        self.vae = load_frozen(AutoencoderKL, init / "vae", device).to(memory_format=layout(device))
        self.device, self.frames = device, frames

    @torch.no_grad()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scaled latents (float16) of clips x frames x 3 x SIZE x SIZE."""
        with autocast(self.device):
            mean = self.vae.encode(pictures.flatten(0, 1)).latent_dist.mean
        latents: torch.Tensor = (mean.float() * self.vae.config.scaling_factor).half()
        return latents.reshape(*pictures.shape[:2], *latents.shape[1:])

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> list[Image]:
        """The frames (RGB) of one clip of latents."""
        with autocast(self.device):
            frames = self.vae.decode(latents.float() / self.vae.config.scaling_factor).sample
        return to_pictures(frames)

    def make(self, portraits: Portraits, rounds: int, limit: tuple[float, Stop], seed: int) -> Clips:
        """`rounds` clips of each portrait, in random order; fewer where the seconds in `limit` are over before."""
        generator = torch.Generator(self.device).manual_seed(seed)
        count = len(portraits)
        order = torch.cat([torch.randperm(count, generator=generator, device=self.device) for _ in range(rounds)])
        owners = torch.tensor(portraits.owners, device=self.device)
        size = 16 if self.device.type != "cpu" else 1
        latents, begun = [], time.monotonic()
        for start in range(0, len(order), size):
            latents.append(self.encode(render(portraits, order[start : start + size], self.frames, generator)))
            settle(self.device)
            if time.monotonic() - begun > limit[0] or limit[1].asked:
                break
        made = torch.cat(latents)
        say(f"{len(made)} clips of {count} portraits in {time.monotonic() - begun:.1f} s")
        return Clips(made, owners[order[: len(made)]])


class Texts:
    """The embeddings of every view's caption, in several wordings, and of nothing: on the device, float32."""

    def __init__(self, pack: Pack, owners: list[int], init: Path, device: torch.device) -> None:
        rng = np.random.default_rng(5)
        views = [pack.views[owner] for owner in owners]
        seen = read()
        lines = [
            seen[view.file].varied(False, rng) if view.file in seen else view.caption
            for view in views
            for _ in range(VARIANTS)
        ]
        lines += [seen[view.file].caption() if view.file in seen else view.caption for view in views]
        lines.append("")
        table = Contexts(init / "tokenizer", init / "text_encoder", device)(lines)
        self._varied = table[: len(views) * VARIANTS].reshape(len(views), VARIANTS, *table.shape[1:])
        self._plain = table[len(views) * VARIANTS : -1]
        self.nothing = table[-1:]
        self._rows = torch.zeros(len(pack.views), dtype=torch.long, device=device)
        self._rows[torch.tensor(owners, device=device)] = torch.arange(len(views), device=device)

    def varied(self, owners: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One wording for each owner, at random: N x 77 x width."""
        ways = torch.randint(VARIANTS, owners.shape, generator=generator, device=owners.device)
        chosen: torch.Tensor = self._varied[self._rows[owners], ways]
        return chosen

    def plain(self, owners: torch.Tensor) -> torch.Tensor:
        """Each owner's caption as it is."""
        return self._plain[self._rows[owners]]


class Denoiser:
    """The UNet over clips: what it takes and gives lies as clips x frames x 4 x h x w."""

    def __init__(self, unet: Any, device: torch.device) -> None:
        self._unet, self._device = unet, device
        self.noise = Noise(device)

    def add(self, clean: torch.Tensor, random: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """The clips as noisy as `times` (one a clip) say."""
        each = times.repeat_interleave(clean.shape[1])
        return self.noise.add(clean.flatten(0, 1), random.flatten(0, 1), each).reshape(clean.shape)

    def __call__(self, noisy: torch.Tensor, times: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """The noise in the clips, float32. context: one embedding a clip."""
        with autocast(self._device):
            found = self._unet(
                noisy.transpose(1, 2), times, encoder_hidden_states=context.repeat_interleave(noisy.shape[1], 0)
            ).sample
        return found.float().transpose(1, 2)  # type: ignore[no-any-return]

    @torch.no_grad()
    def held_loss(self, clips: Clips, texts: Texts) -> list[float]:
        """Mean squared error of the noise on the clips in each band of t, on the same noise at each call."""
        losses = []
        for low, high in BANDS:
            generator = torch.Generator(self._device).manual_seed(low)
            times = torch.linspace(low, high - 1, len(clips.owners), device=self._device).long()
            total = torch.zeros((), device=self._device)
            for start in range(0, len(times), 8):
                part = slice(start, start + 8)
                clean = clips.latents[part].float()
                random = torch.randn(clean.shape, generator=generator, device=self._device)
                found = self(self.add(clean, random, times[part]), times[part], texts.plain(clips.owners[part]))
                total += (found - random).pow(2).mean() * len(clean)
            losses.append(float(total) / len(times))
        return losses


class Run:
    """One training run."""

    def __init__(self, options: argparse.Namespace, stop: Stop) -> None:
        torch.manual_seed(options.seed)
        self.options, self.stop = options, stop
        self.device = device = torch.device(options.device)
        pack = Pack(options.pack)
        portraits = load_portraits(pack, False, device, most=options.portraits)
        held = load_portraits(pack, True, device, most=min(options.held, options.portraits or options.held))
        self.maker = Maker(options.init, device, options.frames)
        self.held = self.maker.make(held, 1, (options.make_seconds, stop), options.seed + 1)
        self.texts = Texts(pack, [*portraits.owners, *held.owners], options.init, device)
        self.unet, self.adapter = make_models(options.init, device)
        self.denoiser = Denoiser(self.unet, device)
        self.learner = Learner(self.adapter, (options.muon_rate, options.adam_rate), options.average)
        self.log = Log(
            options.out.with_suffix(".csv"),
            ["step", "seconds", "rate", "loss", "held_low", "held_middle", "held_high"],
        )
        self.clips = self.maker.make(portraits, options.clips, (options.make_seconds, stop), options.seed)
        self.generator = torch.Generator(device).manual_seed(options.seed + 2)
        self.step = 0

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean latents (float32) and the embeddings of one step's clips."""
        shape = (self.options.batch,)
        chosen = torch.randint(len(self.clips.owners), shape, generator=self.generator, device=self.device)
        return self.clips.latents[chosen].float(), self.texts.varied(self.clips.owners[chosen], self.generator)

    def train_step(self, factor: float) -> torch.Tensor:
        """One update; the mean squared error of its batch, on the device."""
        clean, context = self.batch()
        count = len(clean)
        random = torch.randn(clean.shape, generator=self.generator, device=self.device)
        slices = torch.rand(count, generator=self.generator, device=self.device)
        times = ((torch.arange(count, device=self.device) + slices) / count * 1000).long().clamp(0, 999)
        error = (self.denoiser(self.denoiser.add(clean, random, times), times, context) - random).pow(2)
        weights = self.denoiser.noise.emphasis(times, self.options.emphasis)[:, None, None, None, None]
        torch.autograd.backward((error * weights).mean() / weights.mean())
        self.learner.step(factor)
        self.step += 1
        return error.detach().mean()

    def measure(self, seconds: float) -> None:
        """Log the held-out loss of the averaged weights."""
        with self.learner.averaged():
            low, middle, high = self.denoiser.held_loss(self.held, self.texts)
        self.log.add(step=self.step, seconds=seconds, held_low=low, held_middle=middle, held_high=high)

    def save(self) -> None:
        """Write the averaged adapter in fp16, each file whole; what else lies in OUT stays."""
        out: Path = self.options.out
        out.mkdir(parents=True, exist_ok=True)
        with self.learner.averaged(), tempfile.TemporaryDirectory(dir=out) as part:
            copy.deepcopy(self.adapter).half().save_pretrained(part)
            files = sorted(Path(part).iterdir())
            size = sum(file.stat().st_size for file in files)
            for file in files:
                file.replace(out / file.name)
        say(f"wrote {out}: {size / 1e6:.2f} MB after {self.step} steps")

    def train(self) -> None:
        """Train until --steps or --seconds are over, or the process is asked to end; then write."""
        options = self.options
        self.measure(0)
        settle(self.device)
        clock = Clock(options.steps, options.seconds / 60)
        total, seen = torch.zeros((), device=self.device), 0
        while not self.stop.asked and (progress := clock.progress(self.step)) < 1:
            factor = rate_factor(self.step, progress, warmup=options.warmup, decay_from=options.decay_from)
            total, seen = total + self.train_step(factor), seen + 1
            if self.step % options.every == 0:
                loss = float(total) / seen
                if not math.isfinite(loss):
                    raise SystemExit(f"the loss is not finite at step {self.step}")
                self.log.add(step=self.step, seconds=clock.seconds, rate=factor, loss=loss)
                total, seen = torch.zeros((), device=self.device), 0
        settle(self.device)
        seconds = clock.seconds
        self.save()
        if not self.stop.asked:
            self.measure(seconds)
            Samples(self).write()
            self.log.plot()


class Samples:
    """Clips drawn at the end, for the eye and for two numbers."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._count = min(run.options.samples, len(run.held.owners))

    @torch.no_grad()
    def _draw(self, start: torch.Tensor, context: torch.Tensor, first: int) -> torch.Tensor:
        """Euler ancestral from step `first` of 25 on, guidance 3; `start` holds clean latents, or zeros."""
        from diffusers import EulerAncestralDiscreteScheduler

        run = self._run
        scheduler = EulerAncestralDiscreteScheduler(**BETAS)
        scheduler.set_timesteps(25, device=run.device)
        generator = torch.Generator(run.device).manual_seed(11)
        random = torch.randn(start.shape, generator=generator, device=run.device)
        times = scheduler.timesteps[first:]
        latents = random * scheduler.init_noise_sigma if first == 0 else scheduler.add_noise(start, random, times[:1])
        both = torch.cat([run.texts.nothing.expand_as(context), context])
        for moment in times:
            noisy = scheduler.scale_model_input(latents, moment)
            without, found = run.denoiser(noisy.repeat(2, 1, 1, 1, 1), moment.expand(2 * len(start)), both).chunk(2)
            guided = without + 3 * (found - without)
            latents = scheduler.step(guided, moment, latents, generator=generator, return_dict=False)[0]
        return cast(torch.Tensor, latents)

    def _still(self) -> Any:
        """The adapter's weights with its last layers at zero: the UNet without motion."""
        return {
            name: torch.zeros_like(value) if ".proj_out." in name else value
            for name, value in self._run.adapter.state_dict().items()
        }

    def write(self) -> None:
        """Draw with and without the module; write the sheet and say how far frames are from the next."""
        run = self._run
        if not self._count:
            return
        clean = run.held.latents[: self._count].float()
        context = run.texts.plain(run.held.owners[: self._count])
        drawn: dict[str, torch.Tensor] = {}
        with run.learner.averaged():
            moving = {name: value.clone() for name, value in run.adapter.state_dict().items()}
            for name, weights in (("without", self._still()), ("with", moving)):
                run.adapter.load_state_dict(weights)
                drawn[f"text {name}"] = self._draw(torch.zeros_like(clean), context, 0)
                drawn[f"repainted {name}"] = self._draw(clean, context, 13)
        inputs = [run.maker.decode(clip) for clip in clean]
        frames = {name: [run.maker.decode(clip) for clip in clips] for name, clips in drawn.items()}
        for name, clips in {"held-out clips": inputs, **frames}.items():
            steps = [np.diff(np.stack(clip).astype(np.float32), axis=0) for clip in clips]
            line = f"{name}: a frame is {np.mean([np.abs(step).mean() for step in steps]):.2f} from the next"
            if name.startswith("repainted"):
                theirs = [np.diff(np.stack(clip).astype(np.float32), axis=0) for clip in inputs]
                apart = np.mean([np.abs(a - b).mean() for a, b in zip(steps, theirs, strict=True)])
                line += f", its change {apart:.2f} from the input's"
            say(line)
        rows = [clips[i] for i in range(min(2, self._count)) for clips in (frames["text without"], frames["text with"])]
        for i in range(self._count):
            rows += [inputs[i], frames["repainted without"][i], frames["repainted with"][i]]
        sheet([row[:: max(1, len(row) // 8)] for row in rows], run.options.out.with_suffix(".jpg"))


def main() -> None:
    """Command line."""
    parser = training_parser(__doc__, batch=16, rates=(3e-3, 1e-3), average=0.99, every=50)
    parser.add_argument(
        "--init", type=Path, default=MODEL_DIR, help="the folder with UNet, VAE, text encoder, tokenizer"
    )
    parser.add_argument("--pack", type=Path, default=WORK / "pack.npz")
    parser.add_argument("--out", type=Path, default=WORK / "motion")
    parser.add_argument("--seconds", type=float, default=0, help="training ends after so long")
    parser.add_argument("--make-seconds", type=float, default=15, help="at most so long are clips made")
    parser.add_argument("--clips", type=int, default=3, help="clips of each portrait")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--portraits", type=int, default=0, help="so many portraits alone; 0: all")
    parser.add_argument("--held", type=int, default=24, help="held-out portraits to measure on")
    parser.add_argument("--samples", type=int, default=4, help="held-out clips to draw at the end")
    add_emphasis(parser)
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--decay-from", type=float, default=0.4)
    options = parser.parse_args()
    stop = Stop()
    say(f"training a motion module: {vars(options)}")
    Run(options, stop).train()


if __name__ == "__main__":
    main()
