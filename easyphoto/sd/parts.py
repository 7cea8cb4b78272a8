"""The parts of one loaded Stable Diffusion model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto.checkpoint import Prediction
from easyphoto.config import Family
from easyphoto.sd.placement import Placement

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class Parts:
    """The tokenizers, the text encoders (one, or two for SDXL), the UNet and the VAE of one checkpoint.

    ``placement`` says on which device they work. Whoever lets one of them work asks it to bring that one there.

    The UNet and the text encoders are of ``dtype``. The VAE is always float32: it works once for each picture, and half
    precision overflows in some. ``scheduler_config`` holds the betas and the prediction type, not a sampler.
    """

    family: Family
    prediction: Prediction
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[Any, ...]
    unet: Any
    vae: Any
    scheduler_config: Mapping[str, Any]
    path: Path
    placement: Placement

    @property
    def tokenizer(self) -> Any:
        return self.tokenizers[0]

    @property
    def text_encoder(self) -> Any:
        return self.text_encoders[0]

    @property
    def device(self) -> torch.device:
        """The device on which the parts work."""
        return self.placement.device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.unet.parameters()).dtype
        return dtype

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels one latent pixel stands for: 8 in every published model."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))
