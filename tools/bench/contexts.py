"""Texts as the denoiser sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from captions import tokens_of
from parts import load_frozen, load_tokenizer

BATCH = 256


class Contexts:
    """The frozen text encoder of a checkpoint with its tokenizer."""

    def __init__(self, tokenizer: Path, encoder: Path, device: torch.device) -> None:
        from transformers import CLIPTextModel

        self._tokenizer, self._device = load_tokenizer(tokenizer), device
        self._encoder = load_frozen(CLIPTextModel, encoder, device)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """The encoder's states (n, 77, width) for texts, float32 on the device."""
        made = []
        for start in range(0, len(texts), BATCH):
            tokens = torch.from_numpy(tokens_of(self._tokenizer, texts[start : start + BATCH])).long()
            made.append(self._encoder(tokens.to(self._device)).last_hidden_state)
        return torch.cat(made)
