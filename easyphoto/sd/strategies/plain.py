"""Stable Diffusion 1 and 2, and models that are built like them: they have one text encoder, to whose last layer the
UNet attends."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from easyphoto.sd.lora_names import diffusers_blocks

if TYPE_CHECKING:
    import torch

CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."


@dataclass(frozen=True)
class TextFolder:
    """Where a text encoder lies in a diffusers folder, and whether it also gives one vector for the whole text."""

    tokenizer: str
    encoder: str
    pools: bool = False


@dataclass(frozen=True)
class TextPlace:
    """Where a text encoder lies in a single file: how the names of its tensors begin, whether they are named as
    OpenCLIP does, and which of its layers are the last to be used (as the end of a slice)."""

    prefix: str
    open_clip: bool = False
    last: int | None = None


class Plain:
    """The base of all strategies. Where a family differs, its strategy overrides a method or an attribute."""

    name: ClassVar[str] = "sd"
    penultimate: ClassVar[bool] = False
    """Whether the UNet attends to the last layer but one of a text encoder."""
    blank_negative: ClassVar[bool] = False
    """Whether an empty negative prompt is embedded as zeros and not as an empty text."""
    text_folders: ClassVar[tuple[TextFolder, ...]] = (TextFolder("tokenizer", "text_encoder"),)

    def text_places(self, names: Collection[str]) -> tuple[TextPlace, ...]:
        """Return where the text encoders are in a file with tensors of these ``names``."""
        if any(name.startswith(OPEN_CLIP) for name in names):
            # SD2 attends to the last layer but one, so the last one is left out.
            return (TextPlace(OPEN_CLIP, open_clip=True, last=-1),)
        return (TextPlace(CLIP),)

    def lora_name(self, name: str) -> str:
        """Return the name of a module in kohya's LoRA files, given its name in diffusers with ``_`` for dots."""
        return name

    def canonical(self, module: str) -> str:
        """Return the one name that a module has in LoRAs for such models, whichever of its names a file uses."""
        return diffusers_blocks(re.sub(r"^lora_te1_", "lora_te_", module))

    def texts(self, encoders: Sequence[Any], ids: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what the UNet attends to (batch, tokens, features) for the ids (batch, length) of each tokenizer, and
        the vectors of the whole texts (batch, features) where the family has them. Gradients are kept."""
        return encoders[0](ids[0].to(encoders[0].device))[0], None

    def added(
        self, pooled: torch.Tensor | None, size: tuple[int, int], like: torch.Tensor
    ) -> dict[str, torch.Tensor] | None:
        """Return what the UNet takes beside the text for pictures of ``size`` (height, width); None for nothing.
        ``like`` is a tensor of the device and number type that it wants."""
        return None
