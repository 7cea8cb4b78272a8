"""What an adapter learns from, all on the device: views of portraits as latents, their captions, who is on them.

A pack here holds portraits as squares of any side from 256 px on, with landmarks in their own pixels. Views of 256 px
are cut out of them around the face, never enlarged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchkit import SIZE, Image, Pack, Points, View, held_out, to_tensor
from latents import mirrored, weight_map
from tokenizer import TRIGGER
from train_unet import tokens_of, vary

TIGHT, TIGHT_BELOW = 1.45, 2.2
"""The least side of a view in sizes of the face's 68 points, and below which side it is captioned as a close-up."""
WATCHED = 60
"""So many of the people who may be trained on are left out, to see when the training begins to learn them by heart."""
BATCH = 64


@dataclass(frozen=True)
class Cut:
    """One view of 256 px. `tight`: whether the face fills it. `mirrored`: whether left and right are exchanged."""

    picture: Image
    points: Points | None
    tight: bool
    mirrored: bool


def cut_view(picture: Image, points: Points | None, rng: np.random.Generator, mirror: bool) -> Cut:
    """A view at random: a square around the face, shrunk to 256 px, with up to 8% more or less light."""
    full = min(picture.shape[:2])
    size = 0.0 if points is None else float(np.ptp(points, axis=0).max())
    least = min(float(full), max(float(SIZE), 0.8 * full if points is None else TIGHT * size))
    side = round(least + (full - least) * rng.random() ** 1.5)
    middle = np.array(picture.shape[1::-1]) / 2 if points is None else (points.min(0) + points.max(0)) / 2
    middle = middle - (0.0, 0.1 * size) + rng.normal(0, 0.05 * side, 2)
    room = np.array(picture.shape[1::-1]) - side
    left, top = np.clip(np.round(middle - side / 2), 0, room).astype(int)
    cut = picture[top : top + side, left : left + side]
    if side != SIZE:
        cut = cv2.resize(cut, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC)
    lit = (cut.astype(np.float32) * rng.uniform(0.92, 1.08)).clip(0, 255).round().astype(np.uint8)
    moved = None if points is None else ((points - (left, top)) * (SIZE / side)).astype(np.float32)
    if mirror:
        lit, moved = mirrored(lit, moved)
    return Cut(lit, moved, tight=side < TIGHT_BELOW * size, mirrored=mirror)


def cuts_of(pack: Pack, index: int, count: int) -> list[Cut]:
    """`count` views of one portrait of the pack, every second one mirrored."""
    view, picture = pack.views[index], pack.image(index)
    points = None if view.landmarks is None else np.array(view.landmarks, np.float32)
    rng = np.random.default_rng([5, index])
    return [cut_view(picture, points, rng, mirror=bool(number % 2)) for number in range(count)]


@dataclass(frozen=True)
class Vectors:
    """The file that identities.py makes: by portrait, the vectors (k, 128) of its views."""

    of: dict[str, np.ndarray[Any, np.dtype[np.float32]]]

    @staticmethod
    def read(path: Path) -> Vectors:
        """Portraits in which no face was found are left out."""
        with np.load(path) as data:
            files, vectors, found = data["files"], data["vectors"].astype(np.float32), data["found"]
        return Vectors({str(f): v for f, v, seen in zip(files, vectors, found, strict=True) if seen.all()})


@dataclass(frozen=True)
class Views:
    """Views of some people, each tensor on the device and of one row a view.

    latents (n, 4, 32, 32) and weights (n, 32, 32) as float16, contexts (n, 77, width), mirror (n) and the number of the
    person (n), by which `vectors` (people, k, 128) is asked.
    """

    latents: torch.Tensor
    weights: torch.Tensor
    contexts: torch.Tensor
    mirror: torch.Tensor
    person: torch.Tensor
    vectors: torch.Tensor


@dataclass(frozen=True)
class Groups:
    """Who is trained on, who only tells when to stop, and who is never seen: three lists of places in the pack."""

    train: list[int]
    watched: list[int]
    held: list[int]

    @staticmethod
    def of(views: Sequence[View], vectors: Vectors) -> Groups:
        """Split the views of a pack whose people have a vector."""
        known = [i for i, view in enumerate(views) if view.file in vectors.of]
        free = {views[i].file for i in known if not views[i].held}
        watched = held_out(free, min(WATCHED, len(free) // 5))
        return Groups(
            [i for i in known if views[i].file in free - watched],
            [i for i in known if views[i].file in watched and not views[i].held],
            [i for i in known if views[i].held],
        )


def lying(device: torch.device) -> torch.memory_format:
    """How weights and pictures lie in memory. benchkit.layout asks the program about the processor, which a machine
    that only trains doesn't have."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


class Encoder:
    """The frozen parts that turn pictures and captions into what the denoiser sees."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from diffusers import AutoencoderKL
        from parts import load_tokenizer
        from transformers import CLIPTextModel

        self._device = device
        self._dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._tokenizer = load_tokenizer(folder / "tokenizer")
        text = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
        vae = AutoencoderKL.from_pretrained(folder / "vae").float()
        self._text = text.requires_grad_(False).eval().to(device)
        self.vae = vae.requires_grad_(False).eval().to(device, self._dtype, memory_format=lying(device))

    @torch.inference_mode()
    def contexts(self, texts: Sequence[str]) -> torch.Tensor:
        """The text encoder's answer (n, 77, width) to each text."""
        made = []
        for start in range(0, len(texts), BATCH):
            tokens = tokens_of(self._tokenizer, texts[start : start + BATCH]).to(self._device)
            made.append(self._text(tokens).last_hidden_state.to(self._dtype))
        return torch.cat(made)

    @torch.inference_mode()
    def latents(self, pictures: Sequence[Image]) -> torch.Tensor:
        """Scaled latents (n, 4, 32, 32), float16."""
        made = []
        for start in range(0, len(pictures), BATCH):
            batch = to_tensor(pictures[start : start + BATCH]).to(self._device, self._dtype)
            mean = self.vae.encode(batch.contiguous(memory_format=lying(self._device))).latent_dist.mean
            made.append((mean.float() * self.vae.config.scaling_factor).half())
        return torch.cat(made)


def encode(pack: Pack, places: Sequence[int], vectors: Vectors, encoder: Encoder, count: int) -> Views:
    """`count` views of each portrait, their captions varied as in the denoiser's training. `places`: at least one."""
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool:
        cuts = list(pool.map(lambda place: cuts_of(pack, place, count), places))
    views = [pack.views[place] for place in places]
    files = list(dict.fromkeys(view.file for view in views))
    number = {file: i for i, file in enumerate(files)}
    rng = np.random.default_rng(6)
    texts = [
        vary(view.caption, "tight" if cut.tight else "whole", rng)
        for view, some in zip(views, cuts, strict=True)
        for cut in some
    ]
    latents = encoder.latents([cut.picture for some in cuts for cut in some])
    device = latents.device
    return Views(
        latents=latents.clone(),
        weights=torch.stack([weight_map(cut.points) for some in cuts for cut in some]).to(device),
        contexts=encoder.contexts(texts).clone(),
        mirror=torch.tensor([cut.mirrored for some in cuts for cut in some], device=device),
        person=torch.tensor([number[view.file] for view in views for _ in range(count)], device=device),
        vectors=torch.from_numpy(np.stack([vectors.of[file] for file in files])).to(device),
    )


def bare_trigger(encoder: Encoder) -> torch.Tensor:
    """The context (1, 77, width) of the trigger words alone."""
    return encoder.contexts([TRIGGER]).clone()
