"""Stable Diffusion's noise, and which of its levels a training sees how often."""

from __future__ import annotations

import numpy as np
import torch
from parts import BETAS

BANDS = ((50, 350), (350, 700), (700, 1000))
"""The parts of t in which losses are told apart."""


class Noise:
    """The schedule's two factors, and how t is drawn: inside `focus` twice as often as elsewhere."""

    def __init__(self, device: torch.device, focus: tuple[int, int] = (50, 700)) -> None:
        start, end = BETAS["beta_start"], BETAS["beta_end"]
        betas = torch.linspace(start**0.5, end**0.5, 1000, dtype=torch.float64) ** 2
        kept = torch.cumprod(1 - betas, 0)
        self._signal = kept.sqrt().float().to(device)
        self._noise = (1 - kept).sqrt().float().to(device)
        self._odds = (1 / kept).sqrt().float().to(device)
        density = np.full(1000, 0.5)
        density[focus[0] : focus[1]] = 1.0
        self.cumulative = np.concatenate([[0.0], np.cumsum(density) / density.sum()])

    def draw(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """`count` steps t, one from each equal slice of the distribution."""
        places = (np.arange(count) + rng.random(count)) / count
        return torch.from_numpy(np.searchsorted(self.cumulative, places, side="right") - 1).clamp(0, 999)

    def emphasis(self, times: torch.Tensor, most: float) -> torch.Tensor:
        """How much more the noise at t counts, (N,) from 1 to `most`: sqrt(1 + 1/SNR(t)).

        Alike in epsilon, noisy steps would hardly teach anything: nearly all of their input is the answer, and a wrong
        face costs little. sqrt lies halfway between epsilon's loss and that of v (Salimans and Ho, "Progressive
        distillation for fast sampling of diffusion models", 2022).
        """
        return self._odds[times].clamp(max=most)

    def add(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """The noisy latents at t."""
        return self._signal[times, None, None, None] * clean + self._noise[times, None, None, None] * noise

    def clean(self, noisy: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """The latents that a prediction of the noise at t promises."""
        return (noisy - self._noise[times, None, None, None] * noise) / self._signal[times, None, None, None]
