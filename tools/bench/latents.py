"""Cut random frames from the packed sources and encode them once, so that the trainings read only latents.

    python tools/bench/latents.py --vae models/bench/vae --variants 8
    python tools/bench/latents.py --vae models/bench/vae --variants 40 --device cuda --workers 16 --pictures

Each source that is not held out gives `--variants` frames (see framing.py), each portrait by which trainings are judged
one. A weight map goes with each: faces count three times the background, eyes and mouths five times (a positive weight
moves effort, not the optimum, of the denoiser). `--pictures` keeps the frames as well, with edges and landmarks drawn,
which the ControlNets' training and the face loss need.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import framing
import numpy as np
import torch
from benchkit import WORK, Image, Pack, Points, autocast, control_image, held_out, judging, say, scaled
from captions import read
from framing import SIZES, Frame, Size
from learner import load_state, save_state
from parts import load_frozen


@dataclass
class Bucket:
    """Encoded frames of one size. `latents`: (n, 4, h / 8, w / 8), float16, scaled. `weights`: (n, h / 8, w / 8).
    `owners`: the view of the pack that each comes from. `points`: (n, 68, 2) in pixels, NaN where no face was found.
    Where they were kept: `pictures` (n, h, w, 3), `edges` and `dots` (n, h, w), all uint8."""

    latents: torch.Tensor
    weights: torch.Tensor
    owners: torch.Tensor
    mirrored: torch.Tensor
    points: torch.Tensor
    pictures: torch.Tensor | None = None
    edges: torch.Tensor | None = None
    dots: torch.Tensor | None = None

    def to(self, device: torch.device) -> Bucket:
        """The same on a device."""
        moved: dict[str, Any] = {k: None if v is None else v.to(device) for k, v in vars(self).items()}
        return Bucket(**moved)

    def only(self, chosen: torch.Tensor) -> Bucket:
        """Those frames alone that are chosen (n)."""
        kept: dict[str, Any] = {k: None if v is None else v[chosen] for k, v in vars(self).items()}
        return Bucket(**kept)

    def kept(self, name: str) -> torch.Tensor:
        """`pictures`, `edges` or `dots`; says what to run where they were not kept."""
        found: torch.Tensor | None = getattr(self, name)
        if found is None:
            raise SystemExit("the latents have no pictures: run tools/bench/latents.py with --pictures")
        return found

    def close(self, share: float = 0.45) -> list[bool]:
        """Whether each face is at least so wide as `share` of its frame (as far as it is known)."""
        width = 8 * self.latents.shape[-1]
        spans = self.points[:, :17, 0].amax(1) - self.points[:, :17, 0].amin(1)
        return (spans >= share * width).tolist()

    def __len__(self) -> int:
        return len(self.latents)


@dataclass
class Cache:
    """What the trainings learn from, by size, and what they are judged by."""

    train: dict[Size, Bucket]
    judged: Bucket

    def save(self, path: Path) -> None:
        """Write it as one file."""
        train = [(size, asdict(bucket)) for size, bucket in self.train.items()]
        save_state(path, {"train": train, "judged": asdict(self.judged)})

    @staticmethod
    def load(path: Path) -> Cache:
        """Read it; says what to run when there is none."""
        state = load_state(path)
        if state is None:
            raise SystemExit("no cached latents: run tools/bench/latents.py first")
        return Cache({size: Bucket(**values) for size, values in state["train"]}, Bucket(**state["judged"]))


def weight_map(points: Points | None, size: Size) -> torch.Tensor:
    """Loss weights on the latent grid of a picture of that size, float16, 1 to 5; even where no face is known."""
    canvas = np.full((size[1] // 8, size[0] // 8), 1.0, np.float32)
    if points is not None:
        scaled = points / 8
        centre, reach = scaled[27:36].mean(0), np.ptp(scaled[:17, 0]) / 2
        axes = (max(1, round(float(reach) * 1.1)), max(1, round(float(reach) * 1.45)))
        cv2.ellipse(canvas, (round(float(centre[0])), round(float(centre[1]))), axes, 0, 0, 360, 3.0, -1)
        for part in (slice(36, 42), slice(42, 48), slice(48, 60)):
            low, high = scaled[part].min(0) - 0.5, scaled[part].max(0) + 0.5
            corners = [(int(np.floor(low[0])), int(np.floor(low[1]))), (int(np.ceil(high[0])), int(np.ceil(high[1])))]
            cv2.rectangle(canvas, corners[0], corners[1], 5.0, -1)
    return torch.from_numpy(canvas).half()


def size_of(number: int, count: int) -> Size:
    """The size of frame `number` of `count`: every size has its share, the first the most."""
    place, total = (number + 0.5) / count, 0.0
    for size, share in SIZES.items():
        total += share
        if place <= total:
            return size
    return next(iter(SIZES))


def frames_of(pack: Pack, index: int, count: int) -> list[tuple[Size, Frame]]:
    """The frames of one source: `count` random ones, or the face in the middle where it isn't to be learnt."""
    view, picture = pack.views[index], pack.image(index)
    if view.held:
        first = next(iter(SIZES))
        return [(first, framing.middle(picture, view, first))]
    rng = np.random.default_rng([7, index])
    sizes = [size_of(number, count) for number in range(count)]
    return [(size, framing.random(picture, view, size, rng)) for size in sizes]


class Encoder:
    """Gathers frames of one size, encodes them in batches, and gives a Bucket at the end."""

    def __init__(self, vae: Any, device: torch.device, pictures: bool, batch: int) -> None:
        self._vae, self._device, self._keep, self._batch = vae, device, pictures, batch
        self._waiting: list[Image] = []
        self._latents: list[torch.Tensor] = []
        self._rows: dict[str, list[Any]] = {name: [] for name in ("weights", "owners", "mirrored", "points")}
        self._kept: dict[str, list[Image]] = {}

    def add(self, owner: int, frame: Frame, **drawn: Image) -> None:
        """One more frame. `drawn`: its edges and dots, which are kept if pictures are."""
        size = (frame.picture.shape[1], frame.picture.shape[0])
        self._waiting.append(frame.picture)
        self._rows["weights"].append(weight_map(frame.points, size))
        self._rows["owners"].append(owner)
        self._rows["mirrored"].append(frame.mirrored)
        points = np.full((68, 2), np.nan, np.float32) if frame.points is None else frame.points
        self._rows["points"].append(torch.from_numpy(points))
        if self._keep:
            for name, picture in {"pictures": frame.picture, **drawn}.items():
                self._kept.setdefault(name, []).append(picture)
        if len(self._waiting) >= self._batch:
            self._flush()

    def __len__(self) -> int:
        return len(self._rows["owners"])

    @torch.no_grad()
    def _flush(self) -> None:
        pictures = torch.from_numpy(np.stack(self._waiting)).to(self._device)
        batch = scaled(pictures).contiguous(memory_format=torch.channels_last)
        with autocast(self._device):
            mean = self._vae.encode(batch).latent_dist.mean
        self._latents.append((mean.float() * self._vae.config.scaling_factor).half().cpu())
        self._waiting.clear()

    def bucket(self) -> Bucket:
        """Everything that was added."""
        if self._waiting:
            self._flush()
        kept = {name: torch.from_numpy(np.stack(values)) for name, values in self._kept.items()}
        return Bucket(
            latents=torch.cat(self._latents),
            weights=torch.stack(self._rows["weights"]),
            owners=torch.tensor(self._rows["owners"]),
            mirrored=torch.tensor(self._rows["mirrored"]),
            points=torch.stack(self._rows["points"]),
            **kept,
        )


def encode(pack: Pack, vae: Any, options: argparse.Namespace) -> Cache:
    """Frames of all sources, cut by `--workers` threads and encoded on the device."""
    device = torch.device(options.device)
    batch = 16 if device.type == "cpu" else 128

    def encoder() -> Encoder:
        return Encoder(vae, device, options.pictures, batch)

    train, judged = {size: encoder() for size in SIZES}, encoder()

    def cut(index: int) -> list[tuple[Size, Frame, dict[str, Image]]]:
        made = []
        for size, frame in frames_of(pack, index, options.variants):
            drawn = {}
            if options.pictures:
                kinds = {"edges": "canny", "dots": "openpose"}
                drawn = {n: control_image(k, frame.picture, frame.points)[:, :, 0].copy() for n, k in kinds.items()}
            made.append((size, frame, drawn))
        return made

    files = set(read())
    unseen, judges = held_out(files), judging(files)
    chosen = [i for i, view in enumerate(pack.views) if view.file not in unseen and (not view.held or view.face)]
    with ThreadPoolExecutor(options.workers) as pool:
        for index, frames in zip(chosen, pool.map(cut, chosen), strict=True):
            for size, frame, drawn in frames:
                into = judged if pack.views[index].file in judges else train[size]
                into.add(index, frame, **drawn)
    return Cache({size: one.bucket() for size, one in train.items() if one}, judged.bucket())


def main() -> None:
    """Command line."""
    from diffusers import AutoencoderKL

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, default=WORK / "sources.npz")
    parser.add_argument("--vae", type=Path, default=WORK / "vae")
    parser.add_argument("--out", type=Path, default=WORK / "latents.pt")
    parser.add_argument("--variants", type=int, default=8, help="frames of each source")
    parser.add_argument("--pictures", action="store_true", help="keep the frames too (200 kB each)")
    parser.add_argument("--workers", type=int, default=2, help="threads that cut frames")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    vae = load_frozen(AutoencoderKL, options.vae, torch.device(options.device))
    cache = encode(Pack(options.pack), vae.to(memory_format=torch.channels_last), options)
    cache.save(options.out)
    for size, bucket in cache.train.items():
        say(f"{size}: {len(bucket)} latents, standard deviation {float(bucket.latents.float().std()):.3f}")
    say(f"judged by {len(cache.judged)}")


if __name__ == "__main__":
    main()
