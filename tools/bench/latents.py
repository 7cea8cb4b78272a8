"""Encode the packed portraits once, so that the UNet's training reads only latents.

    python tools/bench/latents.py --pack build/bench/pack.npz --vae build/bench/vae --out build/bench/latents.pt

Each view that is not held out gives `--jitters` + 2 latents: as it is, mirrored, and re-cropped (80 to 97% of its side,
slightly brighter or darker, mirrored half of the time). A weight map goes with each: faces count three times the
background, eyes and mouths five times (a positive weight moves effort, not the optimum, of the denoiser).
Held-out views are encoded as they are, for the held-out loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchkit import SIZE, WORK, Image, Pack, Points, View, autocast, say, to_tensor
from learner import save_state

PLAIN, MIRRORED, CROPPED = range(3)
_JAW_TO_NOSE = (*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1))
_EYES = (45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40)
_MOUTH = (54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65)
MIRROR = np.array(_JAW_TO_NOSE + _EYES + _MOUTH)
"""Number of the landmark that takes each one's place when the picture is mirrored."""


def weight_map(points: Points | None) -> torch.Tensor:
    """Loss weights on the 32 x 32 latent grid, float16, mean about 1 to 2.5; even where no face is known."""
    cells = SIZE // 8
    canvas = np.full((cells, cells), 1.0, np.float32)
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


def mirrored(picture: Image, points: Points | None) -> tuple[Image, Points | None]:
    """Picture and landmarks, left and right exchanged."""
    flipped = np.ascontiguousarray(picture[:, ::-1])
    if points is None:
        return flipped, None
    turned = points[MIRROR].copy()
    turned[:, 0] = picture.shape[1] - 1 - turned[:, 0]
    return flipped, turned


def jittered(picture: Image, points: Points | None, rng: np.random.Generator) -> tuple[Image, Points | None]:
    """A random crop of 80 to 97% scaled back, with 6% of brightness either way."""
    side = round(SIZE * rng.uniform(0.8, 0.97))
    x, y = int(rng.integers(SIZE - side + 1)), int(rng.integers(SIZE - side + 1))
    cut = cv2.resize(picture[y : y + side, x : x + side], (SIZE, SIZE), interpolation=cv2.INTER_LANCZOS4)
    cut = (cut.astype(np.float32) * rng.uniform(0.94, 1.06)).clip(0, 255).round().astype(np.uint8)
    moved = None if points is None else ((points - (x, y)) * (SIZE / side)).astype(np.float32)
    return (cut, moved) if rng.random() < 0.5 else mirrored(cut, moved)


def variants(picture: Image, view: View, more: tuple[bool, int], index: int) -> list[tuple[int, Image, Points | None]]:
    """The pictures of one view that are encoded, each with what it is and its landmarks. `more`: whether to mirror, and
    how many random crops."""
    points = None if view.landmarks is None else np.array(view.landmarks, np.float32)
    made = [(PLAIN, picture, points)]
    if view.held:
        return made
    if more[0]:
        made.append((MIRRORED, *mirrored(picture, points)))
    rng = np.random.default_rng([7, index])
    return made + [(CROPPED, *jittered(picture, points, rng)) for _ in range(more[1])]


@torch.no_grad()
def encode(pack: Pack, vae: Any, more: tuple[bool, int], device: torch.device) -> dict[str, Any]:
    """Latents (scaled, float16), weight maps, the view each comes from and what was done to it."""
    latents, weights, owners, kinds = [], [], [], []
    waiting: list[Image] = []

    def flush() -> None:
        batch = to_tensor(waiting).to(device).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            mean = vae.encode(batch).latent_dist.mean
        latents.append((mean.float() * vae.config.scaling_factor).half().cpu())
        waiting.clear()

    for index, view in enumerate(pack.views):
        for kind, picture, points in variants(pack.image(index), view, more, index):
            waiting.append(picture)
            weights.append(weight_map(points))
            owners.append(index)
            kinds.append(kind)
            if len(waiting) == 16:
                flush()
    if waiting:
        flush()
    return {
        "latents": torch.cat(latents),
        "weights": torch.stack(weights),
        "owners": torch.tensor(owners),
        "kinds": torch.tensor(kinds),
    }


def main() -> None:
    """Command line."""
    from diffusers import AutoencoderKL

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, default=WORK / "pack.npz")
    parser.add_argument("--vae", type=Path, default=WORK / "vae")
    parser.add_argument("--out", type=Path, default=WORK / "latents.pt")
    parser.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--jitters", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    vae = AutoencoderKL.from_pretrained(options.vae).to(device=device, memory_format=torch.channels_last).eval()
    cache = encode(Pack(options.pack), vae, (options.mirror, options.jitters), device)
    save_state(options.out, cache)
    say(f"{len(cache['latents'])} latents, standard deviation {float(cache['latents'].float().std()):.3f}")


if __name__ == "__main__":
    main()
