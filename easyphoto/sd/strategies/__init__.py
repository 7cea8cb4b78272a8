"""What diffusers does differently for a family, by the name of the strategy that the family's specification gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from easyphoto import families
from easyphoto.config import Family
from easyphoto.sd.strategies.plain import Plain, TextFolder, TextPlace
from easyphoto.sd.strategies.xl import Xl

__all__ = ["STRATEGIES", "Plain", "TextFolder", "TextPlace", "Xl", "lora_name", "of"]

STRATEGIES: Mapping[str, Plain] = MappingProxyType({strategy.name: strategy for strategy in (Plain(), Xl())})


def of(family: Family) -> Plain:
    """Return the strategy of a family."""
    return STRATEGIES[families.spec(family).engine]


def lora_name(family: Family, prefix: str, path: str) -> str:
    """Return the kohya name of the module ``path`` (with dots) of the model that ``prefix`` stands for, e.g.
    ``lora_unet``."""
    return of(family).lora_name(f"{prefix}_{path.replace('.', '_')}")
