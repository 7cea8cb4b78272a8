"""What an adapter learns from, all on the device: views of portraits as latents, their captions, who is on them.

A pack here holds the portraits as they are (`pack.py --sources`); views of 256 px are cut from them as in `framing.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import captions
import framing
import numpy as np
import torch
from benchkit import SIZE, Image, Pack, View, judging, to_tensor
from framing import Frame
from latents import Bucket, weight_map
from tokenizer import TRIGGER
from train_unet import close

SQUARE = (SIZE, SIZE)
BATCH = 64
UNKNOWN = np.full((68, 2), np.nan, np.float32)
"""The landmarks where no face was found."""


def frames_of(pack: Pack, index: int, count: int) -> list[Frame]:
    """`count` random views of one portrait of the pack."""
    view, picture = pack.views[index], pack.image(index)
    rng = np.random.default_rng([5, index])
    return [framing.random(picture, view, SQUARE, rng) for _ in range(count)]


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
    """Views of some people, all on the device: their latents and what belongs to them, the contexts (n, 77, width), the
    number of the person on each (n), and by that number the vectors (people, k, 128)."""

    bucket: Bucket
    contexts: torch.Tensor
    person: torch.Tensor
    vectors: torch.Tensor

    def __len__(self) -> int:
        return len(self.bucket)


@dataclass(frozen=True)
class Groups:
    """Who is trained on, who only tells when to stop, and who is never seen: three lists of places in the pack."""

    train: list[int]
    judged: list[int]
    held: list[int]

    @staticmethod
    def of(views: Sequence[View], vectors: Vectors) -> Groups:
        """Split the views of a pack whose people have a vector."""
        known = [i for i, view in enumerate(views) if view.file in vectors.of]
        choosing = judging(captions.read())
        return Groups(
            [i for i in known if not views[i].held],
            [i for i in known if views[i].held and views[i].file in choosing],
            [i for i in known if views[i].held and views[i].file not in choosing],
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
            tokens = captions.tokens_of(self._tokenizer, list(texts[start : start + BATCH]))
            made.append(self._text(torch.from_numpy(tokens).long().to(self._device)).last_hidden_state.to(self._dtype))
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


def encode(
    pack: Pack, places: Sequence[int], vectors: Vectors, encoder: Encoder, count: int, pictures: bool = False
) -> Views:
    """`count` views of each portrait (at least one), their captions varied as in the denoiser's training. `pictures`:
    whether to keep the pictures themselves as well."""
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool:
        frames = [frame for some in pool.map(lambda place: frames_of(pack, place, count), places) for frame in some]
    owners = [place for place in places for _ in range(count)]
    latents = encoder.latents([frame.picture for frame in frames]).clone()
    device = latents.device
    bucket = Bucket(
        latents=latents,
        weights=torch.stack([weight_map(frame.points, SQUARE) for frame in frames]).to(device),
        owners=torch.tensor(owners, device=device),
        mirrored=torch.tensor([frame.mirrored for frame in frames], device=device),
        points=torch.from_numpy(np.stack([UNKNOWN if f.points is None else f.points for f in frames])).to(device),
        pictures=torch.from_numpy(np.stack([frame.picture for frame in frames])).to(device) if pictures else None,
    )
    files = list(dict.fromkeys(pack.views[place].file for place in places))
    number = {file: i for i, file in enumerate(files)}
    return Views(
        bucket=bucket,
        contexts=encoder.contexts(_said(pack, bucket)).clone(),
        person=torch.tensor([number[pack.views[place].file] for place in owners], device=device),
        vectors=torch.from_numpy(np.stack([vectors.of[file] for file in files])).to(device),
    )


def _said(pack: Pack, bucket: Bucket) -> list[str]:
    """A caption of each view; that of the pack where the portrait isn't in the table."""
    seen, rng, texts = captions.read(), np.random.default_rng(6), []
    for owner, turned, near in zip(bucket.owners.tolist(), bucket.mirrored.tolist(), close(bucket), strict=True):
        row = seen.get(pack.views[owner].file)
        if row is None:
            texts.append(pack.views[owner].caption)
        else:
            texts.append((row.mirrored() if turned else row).varied(near, rng))
    return texts


def bare_trigger(encoder: Encoder) -> torch.Tensor:
    """The context (1, 77, width) of the trigger words alone."""
    return encoder.contexts([TRIGGER]).clone()
