"""Whether the weights of a model are numbers."""

from __future__ import annotations

from typing import Any


def broken(module: Any) -> bool:
    """Return whether a weight of the module is NaN or infinite. Weights that a LoRA of PEFT adds don't count."""
    import torch

    return any(
        not bool(torch.isfinite(weight).all())
        for name, weight in module.named_parameters()
        if weight.is_floating_point() and "lora_" not in name
    )
