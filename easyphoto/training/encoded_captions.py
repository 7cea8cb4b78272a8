"""Captions in the form that the UNet takes, with gradients through the text encoders if these are trained."""

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
    """A batch of encoded captions. ``hidden`` has the shape (batch, tokens, features). Only SDXL has ``pooled``, of
    shape (batch, features), and ``sizes``, of shape (batch, 6)."""

    hidden: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def unet_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the UNet's ``forward``."""
        if self.pooled is None:
            return {"encoder_hidden_states": self.hidden}
        added = {"text_embeds": self.pooled, "time_ids": self.sizes}
        return {"encoder_hidden_states": self.hidden, "added_cond_kwargs": added}

    def take(self, rows: Sequence[int]) -> EncodedCaptions:
        """Return some rows of the batch."""
        index = torch.tensor(list(rows), device=self.hidden.device)
        parts = (None if t is None else t[index] for t in (self.hidden, self.pooled, self.sizes))
        hidden, pooled, sizes = parts
        assert hidden is not None
        return EncodedCaptions(hidden, pooled, sizes)


def tokens(parts: Parts, captions: Sequence[str]) -> list[Tensor]:
    """Return the token ids, of shape (captions, length), for each tokenizer. What is too long for a tokenizer is cut
    off."""
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
    """Encode captions that are given as token ids. ``pixels`` is the side of the pictures: SDXL gets this size, and
    that nothing was cropped."""
    strategy = strategies.of(parts.family)
    hidden, pooled = strategy.texts(parts.text_encoders, ids)
    added = strategy.added(pooled, (pixels, pixels), hidden if pooled is None else pooled)
    return (
        EncodedCaptions(hidden) if added is None else EncodedCaptions(hidden, added["text_embeds"], added["time_ids"])
    )
