"""Captions as the UNet is told them, with gradients through the text encoders where these are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from easyphoto.sd import strategies
from easyphoto.sd.parts import Parts


@dataclass(frozen=True)
class EncodedCaptions:
    """``hidden`` (batch, tokens, features); ``pooled`` (batch, features) and ``sizes`` (batch, 6) for SDXL only."""

    hidden: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def unet_arguments(self) -> dict[str, Any]:
        """The keyword arguments of the UNet's forward."""
        if self.pooled is None:
            return {"encoder_hidden_states": self.hidden}
        added = {"text_embeds": self.pooled, "time_ids": self.sizes}
        return {"encoder_hidden_states": self.hidden, "added_cond_kwargs": added}

    def take(self, rows: Sequence[int]) -> EncodedCaptions:
        """Some rows of the batch."""
        index = torch.tensor(list(rows), device=self.hidden.device)
        parts = (None if t is None else t[index] for t in (self.hidden, self.pooled, self.sizes))
        hidden, pooled, sizes = parts
        assert hidden is not None
        return EncodedCaptions(hidden, pooled, sizes)


def tokens(parts: Parts, captions: Sequence[str]) -> list[Tensor]:
    """Token ids (captions, length) for each tokenizer; what is too long is cut off."""
    return [
        tokenizer(
            list(captions),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        for tokenizer in parts.tokenizers
    ]


def encode(parts: Parts, ids: Sequence[Tensor], pixels: int) -> EncodedCaptions:
    """The conditioning of captions given as ids. ``pixels`` is the side of the pictures: SDXL is told that they are
    whole and of that size."""
    strategy = strategies.of(parts.family)
    hidden, pooled = strategy.texts(parts.text_encoders, ids)
    added = strategy.added(pooled, (pixels, pixels), hidden if pooled is None else pooled)
    return (
        EncodedCaptions(hidden) if added is None else EncodedCaptions(hidden, added["text_embeds"], added["time_ids"])
    )
