"""Stable Diffusion XL: it has two text encoders side by side, and its UNet also takes sizes and a vector of the whole
text."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from easyphoto.sd.lora_names import original_blocks
from easyphoto.sd.strategies.plain import Plain, TextFolder, TextPlace

if TYPE_CHECKING:
    import torch

PLACES = (
    TextPlace("conditioner.embedders.0.transformer."),
    TextPlace("conditioner.embedders.1.model.", open_clip=True),
)


class Xl(Plain):
    """What SDXL does otherwise than SD1."""

    name: ClassVar[str] = "sdxl"
    penultimate: ClassVar[bool] = True
    blank_negative: ClassVar[bool] = True
    text_folders: ClassVar[tuple[TextFolder, ...]] = (
        *Plain.text_folders,
        TextFolder("tokenizer_2", "text_encoder_2", pools=True),
    )

    def text_places(self, names: Collection[str]) -> tuple[TextPlace, ...]:
        return PLACES

    def lora_name(self, name: str) -> str:
        return original_blocks(name)

    def canonical(self, module: str) -> str:
        return original_blocks(re.sub(r"^lora_te_", "lora_te1_", module))

    def texts(self, encoders: Sequence[Any], ids: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        hidden, pooled = [], None
        for encoder, row in zip(encoders, ids, strict=True):
            output = encoder(row.to(encoder.device), output_hidden_states=True)
            pooled = output[0]
            hidden.append(output.hidden_states[-2])
        return torch.cat(hidden, -1), pooled

    def added(
        self, pooled: torch.Tensor | None, size: tuple[int, int], like: torch.Tensor
    ) -> dict[str, torch.Tensor] | None:
        """Return SDXL's micro-conditioning: the size of the picture before it was cut, the corner of the cut, and the
        size that is wanted."""
        import torch

        assert pooled is not None
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=like.dtype)
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1).to(like.device)}
