"""The training pictures as latents. They are encoded once, because the VAE is never trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from easyphoto import pictures
from easyphoto.errors import InvalidRequest
from easyphoto.sd import vae as encoding
from easyphoto.storage.folders import LATENTS
from easyphoto.training.samples import WHOLE, Sample

__all__ = ["LATENTS", "LatentSet", "encode"]


@dataclass(frozen=True)
class LatentSet:
    """The latents of each picture and of its mirror image: item 2i is picture i, and item 2i + 1 its mirror image.

    ``mean`` and ``std`` are those of the VAE's posterior, of shape (2n, channels, height, width), scaled as the UNet
    needs them, in float32 on the CPU. ``pixels`` is the side of the pictures. ``known``, of shape (2n, 1, height,
    width), is 1 where a photo covers its picture and 0 elsewhere. It is None if every photo covers all of its picture.
    ``faces``, of the same shape, says how much of each cell is face, and is None if nobody asked for it.
    """

    mean: Tensor
    std: Tensor
    pixels: int
    known: Tensor | None = None
    faces: Tensor | None = None

    def __len__(self) -> int:
        return int(self.mean.shape[0])

    def sample(self, items: Sequence[int], source: torch.Generator) -> Tensor:
        """Draw one latent from the posterior of each item."""
        index = torch.tensor(list(items))
        noise = torch.randn(len(index), *self.mean.shape[1:], generator=source)
        return self.mean[index] + self.std[index] * noise

    def counts(self, face_weight: float) -> Tensor | None:
        """Return how much an error in each cell counts, of the shape of ``known``, if one in a face counts
        ``face_weight`` times as much as one elsewhere. None if all count alike."""
        if self.faces is None or face_weight == 1:
            return self.known
        counted = 1 + (face_weight - 1) * self.faces
        return counted if self.known is None else counted * self.known

    def save(self, path: Path) -> None:
        """Write the latents to a file. Raises ``StorageFailed``."""
        data = {"mean": self.mean, "std": self.std, "pixels": torch.tensor(self.pixels)}
        masks = {"known": self.known, "faces": self.faces}
        data.update({name: mask for name, mask in masks.items() if mask is not None})
        pictures.write_bytes(path, safetensors.torch.save(data))

    @classmethod
    def load(cls, path: Path) -> LatentSet:
        """Read the latents of a file. Raises :class:`InvalidRequest` when the file is not a whole set of latents."""
        try:
            data = safetensors.torch.load_file(path)
            return cls(data["mean"], data["std"], int(data["pixels"]), data.get("known"), data.get("faces"))
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise InvalidRequest("The latents of the earlier training can't be read: train again.") from error


@torch.no_grad()
def encode(vae: Any, samples: Sequence[Sample], on_image: Callable[[int, int], None]) -> LatentSet:
    """Encode square pictures of one size, and their mirror images, with an ``AutoencoderKL`` of diffusers. ``on_image``
    is called after each picture."""
    weight = next(vae.parameters())
    factor = float(vae.config.scaling_factor)
    shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
    means, stds = [], []
    for number, sample in enumerate(samples):
        pair = np.stack([sample.image, sample.image[:, ::-1]])
        pixels = torch.from_numpy(pair).permute(0, 3, 1, 2).to(weight) / 127.5 - 1
        posterior = encoding.posterior(vae, pixels)
        means.append((posterior.mean.float().cpu() - shift) * factor)
        stds.append(posterior.std.float().cpu() * factor)
        on_image(number + 1, len(samples))
    mean, std = torch.cat(means).contiguous(), torch.cat(stds).contiguous()
    size = int(mean.shape[2]), int(mean.shape[3])
    known = None if all(s.known == WHOLE for s in samples) else _known(samples, *size)
    faces = None if any(s.face is None for s in samples) else _faces(samples, *size)
    return LatentSet(mean, std, int(samples[0].image.shape[0]), known, faces)


def _known(samples: Sequence[Sample], height: int, width: int) -> Tensor:
    """Return 1 for the cells of each picture, and of its mirror image, that lie in the photo with all that they show,
    and 0 for the others."""
    maps = []
    for sample in samples:
        left, top, right, bottom = sample.known
        single = torch.zeros(1, height, width)
        single[:, math.ceil(top * height) : int(bottom * height), math.ceil(left * width) : int(right * width)] = 1
        maps += [single, single.flip(2)]
    return torch.stack(maps)


def _faces(samples: Sequence[Sample], height: int, width: int) -> Tensor:
    """Return how much of each cell of each picture, and of its mirror image, is face."""
    maps = []
    for sample in samples:
        single = functional.interpolate(torch.as_tensor(sample.face)[None, None], size=(height, width), mode="area")[0]
        maps += [single, single.flip(2)]
    return torch.stack(maps)
