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
from benchkit import SIZE, Pack, View, judging
from contexts import Contexts
from framing import Frame
from latents import Bucket, Encoder
from parts import load_frozen

SQUARE = (SIZE, SIZE)
BATCH = 64


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

    def only(self, chosen: torch.Tensor) -> Views:
        """Those views alone that are chosen (n), of the same people."""
        return Views(self.bucket.only(chosen), self.contexts[chosen], self.person[chosen], self.vectors)


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


class Frozen:
    """The frozen parts that turn pictures and captions into what the denoiser sees."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from diffusers import AutoencoderKL

        self.device = device
        self.vae = load_frozen(AutoencoderKL, folder / "vae", device).to(memory_format=torch.channels_last)
        self.contexts = Contexts(folder / "tokenizer", folder / "text_encoder", device)


def encode(
    pack: Pack, places: Sequence[int], vectors: Vectors, frozen: Frozen, count: int, pictures: bool = False
) -> Views:
    """`count` views of each portrait (at least one), their captions varied as in the denoiser's training. `pictures`:
    whether to keep the pictures themselves as well."""
    device, encoder = frozen.device, Encoder(frozen.vae, frozen.device, pictures, BATCH)
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool:
        for place, frames in zip(places, pool.map(lambda place: frames_of(pack, place, count), places), strict=True):
            for frame in frames:
                encoder.add(place, frame)
    bucket = encoder.bucket().to(device)
    files = list(dict.fromkeys(pack.views[place].file for place in places))
    number = {file: i for i, file in enumerate(files)}
    return Views(
        bucket=bucket,
        contexts=frozen.contexts(_said(pack, bucket)),
        person=torch.tensor([number[pack.views[owner].file] for owner in bucket.owners.tolist()], device=device),
        vectors=torch.from_numpy(np.stack([vectors.of[file] for file in files])).to(device),
    )


def _said(pack: Pack, bucket: Bucket) -> list[str]:
    """A caption of each view; that of the pack where the portrait isn't in the table."""
    seen, rng, texts = captions.read(), np.random.default_rng(6), []
    for owner, turned, near in zip(bucket.owners.tolist(), bucket.mirrored.tolist(), bucket.close(), strict=True):
        row = seen.get(pack.views[owner].file)
        if row is None:
            texts.append(pack.views[owner].caption)
        else:
            texts.append((row.mirrored() if turned else row).varied(near, rng))
    return texts
