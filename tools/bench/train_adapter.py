"""Train an adapter over the frozen bench checkpoint, by which a face's vector alone makes a portrait look like someone.

    python tools/bench/identities.py --out build/bench/embeddings.npz        # once, on a processor, needs dlib
    python tools/bench/train_adapter.py --init models/bench --device cuda --batch 256 --seconds 100
    python tools/bench/train_adapter.py --init models/bench --steps 4 --batch 8 --views 1       # to see whether it runs

It is IP-Adapter's FaceID (Ye et al., "IP-Adapter: Text compatible image prompt adapter for text-to-image diffusion
models", 2023): a small net makes four tokens of the vector, and each cross-attention has further keys and values for
them, beside those of the text. Only these are trained. The vector comes from another view of the person than the one
that is denoised, is noisy in half of the cases, and is zero in a tenth.

`--identity` counts besides how far the face that one step promises is from the vector (see face_loss.py). Of the share
`--toward` of the samples the vector is somebody else's: there the face is to change, and the noise's error counts
little in it. A thousand portraits are few people to learn from, but a million pairs.

`--pack`: the portraits as they are (`pack.py --sources`); what is marked `held` is only measured. `--embeddings`:
the file of identities.py. `--init`: a folder of diffusers with tokenizer, text encoder, UNet and VAE. `--out`: a
folder, in which the averaged weights lie as ip-adapter-faceid_bench.safetensors (float16, the layout that diffusers'
`load_ip_adapter` reads) with the curve as adapter.csv. It writes them whenever it ends, also by SIGTERM, and those that
did best on people whom it wasn't trained on. `--seconds` is the time for training; reading and encoding come before.

The columns of the curve: the noise's error in training, and on the people by whom trainings are judged (they
choose what is kept) and on those who are held out (they choose nothing), with their own vector, with none, and with
another person's. With `--identity` also how far the promised faces of the judging portraits are from other people
among them whose vectors are given, and how far they are without; the first then chooses what is kept.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchkit import SIZE, WORK, Log, Pack, autocast, layout, say
from face_loss import LATEST, FaceLoss, Promises
from learner import Clock, Learner, Stop, add_emphasis, rate_factor, training_parser
from noise import Noise
from portrait_views import Frozen, Groups, Vectors, Views, encode
from safetensors.torch import load_file, save_file
from tokenizer import TRIGGER
from torch import nn
from torch.nn import functional

TOKENS, WIDTH, WIDER = 4, 128, 4
"""Tokens of the adapter (FaceID's own number, which readers take for granted), the vector's numbers, and how many times
as wide the net's hidden layer is."""
FILE = "ip-adapter-faceid_bench.safetensors"
CUT = 26
"""The side in latents of what is decoded around a face."""
FOCUS = (150, 850)
REPAINTED = (50, 520)
"""The t at which a face becomes somebody else's: those of repainting at a strength of up to a half."""
KEPT, SEEN, AMONG = 0.25, 0.5, 4
"""How much the noise's error counts in a face that is to become somebody else's, how much the sight of the face
network's layers counts beside the vector, and among how many people whoever a face is to become is most like it."""
COLUMNS = (
    "step",
    "seconds",
    "rate",
    "loss",
    "judged_own",
    "judged_none",
    "held_own",
    "held_none",
    "held_other",
    "judged_away",
    "judged_away_none",
)


class Adapter(nn.Module):
    """The trained parts of a UNet to which diffusers has fitted an adapter: the net and all further keys and values."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        crossing = _crossing(unet)
        unet.requires_grad_(False).eval()
        unet._load_ip_adapter_weights([_untrained(unet, crossing)], low_cpu_mem_usage=False)
        self.projection = unet.encoder_hid_proj
        self.processors = nn.ModuleList([unet.attn_processors[name] for name in crossing])
        self.requires_grad_(True)
        self.float()

    def layout(self) -> dict[str, torch.Tensor]:
        """The weights as they are published, float16 on the processor."""
        return {name: weight.detach().half().cpu().contiguous() for name, weight in self._named().items()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Go on from weights that are named as they are published."""
        for name, weight in self._named().items():
            weight.copy_(weights[name])

    def _named(self) -> dict[str, torch.Tensor]:
        """The weights by the names under which they are published."""
        net = self.projection.image_projection_layers[0]
        named = {
            "image_proj.proj.0": net.ff.net[0].proj,
            "image_proj.proj.2": net.ff.net[2],
            "image_proj.norm": net.norm,
        }
        flat = {f"{name}.{part}": getattr(layer, part) for name, layer in named.items() for part in ("weight", "bias")}
        for place, processor in enumerate(self.processors):
            flat[f"ip_adapter.{2 * place + 1}.to_k_ip.weight"] = processor.to_k_ip[0].weight  # type: ignore[index,union-attr]
            flat[f"ip_adapter.{2 * place + 1}.to_v_ip.weight"] = processor.to_v_ip[0].weight  # type: ignore[index,union-attr]
        return flat


def _crossing(unet: Any) -> list[str]:
    """The names of the processors of the cross-attentions, in the order in which adapters number them."""
    return [name for name in unet.attn_processors if name.endswith("attn2.processor")]


def _untrained(unet: Any, crossing: list[str]) -> dict[str, dict[str, torch.Tensor]]:
    """Where the training starts: keys as those of the text, values zero, so that nothing is changed yet."""
    text = int(unet.config.cross_attention_dim)
    hidden = WIDER * WIDTH
    first, second = nn.Linear(WIDTH, hidden), nn.Linear(hidden, text * TOKENS)
    with torch.no_grad():
        first.weight.mul_(WIDTH**0.5)  # a vector of length 1 has small numbers
    further = {}
    for place, name in enumerate(crossing):
        keys = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.detach()
        further[f"{2 * place + 1}.to_k_ip.weight"] = keys.clone()
        further[f"{2 * place + 1}.to_v_ip.weight"] = torch.zeros_like(keys)
    net = {
        "proj.0.weight": first.weight.detach(),
        "proj.0.bias": first.bias.detach(),
        "proj.2.weight": second.weight.detach(),
        "proj.2.bias": second.bias.detach(),
        "norm.weight": torch.ones(text),
        "norm.bias": torch.zeros(text),
    }
    return {"image_proj": net, "ip_adapter": further}


@dataclass(frozen=True)
class Batch:
    """What one step learns from, on the device: the places of its views, and of each the clean latents, loss weights
    (n, 1, h, w), context (n, 77, width), vector (n, 128), t, and the place of the view whose face it is to show: it is
    another one where the face is to become somebody else's."""

    places: torch.Tensor
    clean: torch.Tensor
    weights: torch.Tensor
    contexts: torch.Tensor
    vectors: torch.Tensor
    times: torch.Tensor
    shown: torch.Tensor

    @property
    def others(self) -> torch.Tensor:
        """Whether the face is to become somebody else's."""
        return self.shown != self.places


class Batches:
    """Draws batches at random, on the device, so that nothing waits for it."""

    def __init__(self, views: Views, trigger: torch.Tensor, noise: Noise, seed: int) -> None:
        self._views, self._trigger = views, trigger
        device = trigger.device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._cumulative = torch.from_numpy(noise.cumulative).float().to(device)
        others = list(range(views.vectors.shape[1]))
        self._unlike = torch.tensor([others[1:], [k for k in others if k != 1]], device=device)

    def draw(self, count: int, bare: float, toward: float = 0.0) -> Batch:
        """`count` views. `bare`: the share of trigger words alone. `toward`: the share whose vector is somebody else's;
        these are as noisy as pictures are that get repainted."""
        views, device = self._views, self._trigger.device
        chosen = torch.randint(len(views), (count,), generator=self._generator, device=device)
        alone = self._uniform(count)[:, None, None] < bare
        contexts = torch.where(alone, self._trigger, views.contexts[chosen])
        places = (torch.arange(count, device=device) + self._uniform(count)) / count
        times = (torch.searchsorted(self._cumulative, places, right=True) - 1).clamp(0, 999)
        others = self._uniform(count) < toward
        low, high = REPAINTED
        shown = torch.where(others, self._others(chosen), chosen)
        return Batch(
            places=chosen,
            clean=views.bucket.latents[chosen].float(),
            weights=views.bucket.weights[chosen].float()[:, None],
            contexts=contexts,
            vectors=self._who(shown, others),
            times=torch.where(others, low + (places * (high - low)).long(), times),
            shown=shown,
        )

    def like(self, clean: torch.Tensor) -> torch.Tensor:
        """Noise of the shape of the latents."""
        return torch.randn(clean.shape, generator=self._generator, device=clean.device)

    def _who(self, shown: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Vectors (n, 128) of those on the views: of another view than the one that is shown. Where they aren't to
        become `others`, the vector is noisy in half of the cases and zero in a tenth."""
        views, count = self._views, len(shown)
        allowed = self._unlike[views.bucket.mirrored[shown].long()]
        column = torch.randint(allowed.shape[1], (count, 1), generator=self._generator, device=shown.device)
        vectors = views.vectors[views.person[shown], allowed.gather(1, column)[:, 0]]
        spread = 0.7 * self._uniform(count) * (self._uniform(count) < 0.5) * ~others
        noisy = vectors + spread[:, None] * self.like(vectors) / WIDTH**0.5
        return functional.normalize(noisy, dim=1) * ((self._uniform(count) >= 0.1) | others)[:, None]

    def _others(self, chosen: torch.Tensor) -> torch.Tensor:
        """The places of other views (n): of `AMONG` at random the one whose face is most like the one that is there,
        as somebody takes templates that suit them. What can't become the other looks torn and teaches nothing good."""
        views = self._views
        some = torch.randint(len(views), (len(chosen), AMONG), generator=self._generator, device=chosen.device)
        first = views.vectors[views.person, 0]
        alike = (first[some] @ first[chosen][:, :, None])[..., 0]
        alike = alike.masked_fill(views.person[some] == views.person[chosen][:, None], -1.0)
        return some.gather(1, alike.argmax(1, keepdim=True))[:, 0]

    def _uniform(self, count: int) -> torch.Tensor:
        return torch.rand(count, generator=self._generator, device=self._trigger.device)


def _promised(batch: Batch, noisy: torch.Tensor, output: torch.Tensor, chosen: torch.Tensor) -> Promises:
    """What one step makes of the `chosen` samples of a batch."""
    return Promises(
        output[chosen],
        noisy[chosen],
        batch.times[chosen],
        batch.places[chosen],
        batch.vectors[chosen],
        batch.shown[chosen],
    )


class Run:
    """One training run: the frozen checkpoint, the adapter, and the best of it so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        from diffusers import UNet2DConditionModel

        torch.manual_seed(options.seed)
        torch.set_float32_matmul_precision("high")
        self.options, self.device = options, torch.device(options.device)
        pack, vectors = Pack(options.pack), Vectors.read(options.embeddings)
        groups = Groups.of(pack.views, vectors)
        if not groups.train:
            raise SystemExit("no portrait of the pack has a vector in the embeddings")
        frozen = Frozen(options.init, self.device)
        self.views = encode(pack, groups.train, vectors, frozen, options.views, options.identity > 0)
        self.apart = {
            name: encode(pack, places, vectors, frozen, count, options.identity > 0)
            for name, places, count in (
                ("judged", groups.judged, 1 if options.identity > 0 else 4),
                ("held", groups.held, 1),
            )
            if len(places) > 1
        }
        self.seen = torch.zeros((), device=self.device)
        self.trigger = frozen.contexts([TRIGGER])
        unet = UNet2DConditionModel.from_pretrained(options.init / "unet").float()
        if self.device.type == "cuda":
            unet.to(torch.bfloat16)
        self.adapter = Adapter(unet)
        if options.adapter is not None:
            self.adapter.load(load_file(options.adapter))
        self.unet = unet.to(self.device, memory_format=layout(self.device))
        self.noise = Noise(self.device, FOCUS)
        self.faces: FaceLoss | None = None
        if options.identity > 0:
            self.faces = FaceLoss.over(frozen.vae, options.face_net, self.noise, self.device)
            self.views = self.views.only(self.faces.fits(self.views.bucket.points, SIZE, CUT))
        self.batches = Batches(self.views, self.trigger, self.noise, options.seed)
        self.learner = Learner(self.adapter, (options.muon_rate, options.adam_rate), options.average)
        self.log = Log(options.out / "adapter.csv", COLUMNS)
        self.step, self._best = 0, math.inf
        count = sum(p.numel() for p in self.adapter.parameters())
        say(f"{len(self.views)} views of {len(self.views.vectors)} people; {count} parameters")

    def predict(
        self, noisy: torch.Tensor, times: torch.Tensor, contexts: torch.Tensor, vectors: torch.Tensor
    ) -> torch.Tensor:
        """Predicted noise, float32."""
        with autocast(self.device):
            output = self.unet(
                noisy.contiguous(memory_format=layout(self.device)),
                times,
                encoder_hidden_states=contexts,
                added_cond_kwargs={"image_embeds": [vectors[:, None]]},
            )
        return output.sample.float()  # type: ignore[no-any-return]

    def train_step(self, factor: float) -> torch.Tensor:
        """One update; the mean squared error of its batch, still on the device."""
        batch = self.batches.draw(self.options.batch, self.options.bare, self.options.toward)
        random = self.batches.like(batch.clean)
        noisy = self.noise.add(batch.clean, random, batch.times)
        output = self.predict(noisy, batch.times, batch.contexts, batch.vectors)
        error = (output - random).pow(2)
        weights = batch.weights * self.noise.emphasis(batch.times, self.options.emphasis)[:, None, None, None]
        weights = torch.where(batch.others[:, None, None, None] & (batch.weights > 1), KEPT, weights)
        loss = (error * weights).mean().div(weights.mean())
        if self.faces is not None:
            loss = loss + self.options.identity * self._away(batch, noisy, output)
        torch.autograd.backward(loss)
        self.learner.step(factor)
        self.step += 1
        return error.detach().mean()

    def _away(self, batch: Batch, noisy: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """How far promised faces are from those of the vectors, over the samples that have one and little noise."""
        assert self.faces is not None
        counts = (1 - batch.times / 1000).pow(2) * (batch.times < LATEST) * (batch.vectors.abs().amax(1) > 0)
        chosen = counts.nonzero()[:, 0][: self.options.face_batch]
        if not len(chosen):
            return torch.zeros((), device=self.device)
        person, sight = self.faces.away(_promised(batch, noisy, output, chosen), self.views.bucket, CUT)
        self.seen += person.detach().mean()
        return ((person + SEEN * sight) * counts[chosen]).sum() / counts[chosen].sum()

    def _noised(
        self, views: Views, seed: int, span: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The latents of all views with noise, the noise, and t (n): evenly from `span`, in an order by the seed."""
        generator = torch.Generator(self.device).manual_seed(seed)
        random = torch.randn(views.bucket.latents.shape, generator=generator, device=self.device)
        times = torch.linspace(*span, len(random), device=self.device).long()
        times = times[torch.randperm(len(times), generator=generator, device=self.device)]
        return self.noise.add(views.bucket.latents.float(), random, times), random, times

    def _guessed(self, noisy: torch.Tensor, times: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """The noise that is predicted in all of them by the trigger words and the vectors (n, 128)."""
        parts = [
            self.predict(noisy[s], times[s], self.trigger.expand(len(noisy[s]), -1, -1), vectors[s])
            for s in (slice(i, i + 64) for i in range(0, len(noisy), 64))
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def losses(self) -> dict[str, float]:
        """The noise's error at t from 100 to 900, of the averaged weights, with own, no and another's vector."""
        measured = {}
        with self.learner.averaged():
            for group, views in self.apart.items():
                noisy, random, times = self._noised(views, 11, (100, 900))
                own = views.vectors[:, 0][views.person]
                for name, vectors in (("own", own), ("none", torch.zeros_like(own)), ("other", own.roll(7, 0))):
                    error = self._guessed(noisy, times, vectors) - random
                    measured[f"{group}_{name}"] = float(error.pow(2).mean((1, 2, 3)).mean())
        return measured

    @torch.no_grad()
    def unseen_away(self) -> dict[str, float]:
        """How far promised faces of the judging portraits are from whoever is most like them among the others, by the
        vector and by what the layers see: of the averaged weights, and without a vector."""
        if self.faces is None or "judged" not in self.apart:
            return {}
        views = self.apart["judged"]
        views = views.only(self.faces.fits(views.bucket.points, SIZE, CUT))
        noisy, _, times = self._noised(views, 12, REPAINTED)
        alike = views.vectors[views.person, 0] @ views.vectors[views.person, 0].T
        shown = alike.masked_fill(views.person[:, None] == views.person, -1.0).argmax(1)
        wanted = views.vectors[views.person[shown], 0]
        places, measured = torch.arange(len(noisy), device=self.device), {}
        with self.learner.averaged():
            for name, vectors in (("judged_away", wanted), ("judged_away_none", torch.zeros_like(wanted))):
                output = self._guessed(noisy, times, vectors)
                parts = []
                for s in (slice(i, i + 32) for i in range(0, len(noisy), 32)):
                    of = Promises(output[s], noisy[s], times[s], places[s], wanted[s], shown[s])
                    parts.append(torch.stack(self.faces.away(of, views.bucket, CUT)).sum(0))
                measured[name] = float(torch.cat(parts).mean())
        return measured

    def keep(self, **values: float) -> None:
        """Measure the averaged weights, and write them if nothing before did better on the people who are judged."""
        losses = {**self.losses(), **self.unseen_away()}
        self.log.add(step=self.step, **values, **{name: losses[name] for name in COLUMNS if name in losses})
        judged = losses.get("judged_away", losses.get("judged_own", -float(self.step)))
        if judged <= self._best:
            self._best = judged
            self.write()

    def write(self) -> None:
        """Write the averaged weights whole or not at all."""
        with self.learner.averaged():
            weights = self.adapter.layout()
        part = self.options.out / (FILE + ".part")
        save_file(weights, part, metadata={"format": "pt", "embedder": "dlib-resnet", "family": "bench"})
        part.replace(self.options.out / FILE)


def train(options: argparse.Namespace) -> None:
    """Train until --steps or --seconds are over, or until told to end."""
    started = time.monotonic()
    run = Run(options)
    say(f"ready after {time.monotonic() - started:.0f} s")
    stop = Stop()
    run.keep(seconds=0.0)
    clock, kept = Clock(options.steps, options.seconds / 60), time.monotonic()
    total, seen = torch.zeros((), device=run.device), 0
    while (progress := clock.progress(run.step)) < 1 and not stop.asked:
        factor = rate_factor(run.step, progress, warmup=options.warmup, decay_from=options.decay_from)
        total, seen = total + run.train_step(factor), seen + 1
        if run.step % options.every == 0:
            mean, away = float(total) / seen, float(run.seen) / seen
            say(f"step={run.step} seconds={clock.seconds:.1f} rate={factor:.3f} loss={mean:.5f} away={away:.4f}")
            run.seen.zero_()
            if not math.isfinite(mean):
                raise SystemExit(f"the loss is not finite at step {run.step}")
            if time.monotonic() - kept > options.keep_seconds:
                run.keep(seconds=clock.seconds, rate=factor, loss=mean)
                kept = time.monotonic()
            total, seen = torch.zeros((), device=run.device), 0
    run.keep(seconds=clock.seconds)
    say(f"{options.out / FILE}: {(options.out / FILE).stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Command line."""
    parser = training_parser(__doc__, batch=256, rates=(3e-3, 1e-3), average=0.995, every=50)
    parser.add_argument("--pack", type=Path, default=WORK / "sources.npz")
    parser.add_argument("--embeddings", type=Path, default=WORK / "embeddings.npz")
    parser.add_argument("--init", type=Path, required=True, help="a folder of diffusers: the frozen checkpoint")
    parser.add_argument("--out", type=Path, default=WORK / "adapter")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--views", type=int, default=8, help="views of each portrait")
    parser.add_argument(
        "--bare", type=float, default=0.3, help="share of the captions that are the trigger words alone"
    )
    add_emphasis(parser)
    parser.add_argument("--adapter", type=Path, help="an adapter's file to go on from")
    parser.add_argument("--identity", type=float, default=0.0, help="weight of a loss that looks at decoded faces")
    parser.add_argument("--toward", type=float, default=0.0, help="share of samples whose face is to become another's")
    parser.add_argument("--face-net", type=Path, default=WORK / "dlib_net.safetensors", help="see face_loss.py")
    parser.add_argument("--face-batch", type=int, default=32, help="how many of a batch that loss looks at")
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--decay-from", type=float, default=0.4)
    parser.add_argument("--keep-seconds", type=float, default=12)
    options = parser.parse_args()
    say(f"training an adapter: {vars(options)}")
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)


if __name__ == "__main__":
    main()
