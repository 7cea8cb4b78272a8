"""Shows what latents stand for without the VAE: each latent pixel has nearly one colour, which is linear in it.

How the colours follow is found out from a picture whose latents are known, so that it holds for every VAE.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from easyphoto.ports import Image

STIFFNESS = 1e-3
"""How much a projection is held back from large factors, as a share of what the latents themselves weigh: latents that
hardly differ say little about the colours of others."""


@dataclass(frozen=True, eq=False)
class Projection:
    """``factors`` (channels + 1, 3), float32 on the CPU: what each channel adds to red, green and blue in [0, 1]; the
    last row is the colour of latents that are zero."""

    factors: torch.Tensor

    @classmethod
    def learned(cls, latents: torch.Tensor, pixels: torch.Tensor) -> Projection:
        """Return the projection that suits the ``latents`` (1, channels, h, w) of the picture ``pixels`` (1, 3, height,
        width) in [0, 1] best."""
        small = functional.interpolate(pixels.detach().cpu().float(), latents.shape[-2:], mode="area")
        colours = small[0].flatten(1).T.double()
        rows = _rows(latents).double()
        mean = colours.mean(0)
        squares = rows.T @ rows
        held = STIFFNESS * squares.diagonal().mean() * torch.eye(len(squares), dtype=torch.float64)
        held[-1, -1] = 0
        factors = torch.linalg.solve(squares + held, rows.T @ (colours - mean))
        factors[-1] += mean
        return cls(factors.float())

    def picture(self, latents: torch.Tensor) -> Image:
        """Return a picture with one pixel for each of the ``latents`` (1, channels, h, w)."""
        colours = (_rows(latents) @ self.factors).nan_to_num().clamp(0, 1)
        picture: Image = (colours * 255).round().to(torch.uint8).reshape(*latents.shape[-2:], 3).numpy()
        return picture


def _rows(latents: torch.Tensor) -> torch.Tensor:
    """Return one row for each latent pixel, with a 1 at its end."""
    rows = latents.detach().cpu().float()[0].flatten(1).T
    return torch.cat([rows, torch.ones(len(rows), 1)], 1)
