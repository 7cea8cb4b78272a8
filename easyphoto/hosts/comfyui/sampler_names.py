"""The samplers of ComfyUI by the names that WebUIs give them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from easyphoto.errors import AssetMissing, InvalidRequest


@dataclass(frozen=True)
class ComfySampler:
    """A sampler and a schedule as ComfyUI calls them. ``distilled`` says that the model is to be sampled as a latent
    consistency model."""

    sampler: str
    scheduler: str
    distilled: bool = False


BY_NAME: Mapping[str, ComfySampler] = MappingProxyType(
    {
        "DPM++ 2M SDE Karras": ComfySampler("dpmpp_2m_sde", "karras"),
        "DPM++ 2M Karras": ComfySampler("dpmpp_2m", "karras"),
        "Euler a": ComfySampler("euler_ancestral", "normal"),
        "Euler": ComfySampler("euler", "normal"),
        "DDIM": ComfySampler("ddim", "ddim_uniform"),
        "LCM": ComfySampler("lcm", "sgm_uniform", distilled=True),
        "UniPC": ComfySampler("uni_pc", "normal"),
        "DPM++ SDE Karras": ComfySampler("dpmpp_sde", "karras"),
        "DPM++ 3M SDE Karras": ComfySampler("dpmpp_3m_sde", "karras"),
        "Heun": ComfySampler("heun", "normal"),
    }
)


def named(name: str, samplers: Collection[str], schedulers: Collection[str]) -> ComfySampler:
    """Return what the sampler ``name`` is in a ComfyUI that has these ``samplers`` and ``schedulers``."""
    found = BY_NAME.get(name)
    if found is None:
        raise InvalidRequest("There is no sampler {name!r}; there are {known}.", name=name, known=", ".join(BY_NAME))
    if found.sampler not in samplers or found.scheduler not in schedulers:
        raise AssetMissing(
            "This ComfyUI has no sampler {sampler} with the schedule {scheduler}: update it.",
            sampler=found.sampler,
            scheduler=found.scheduler,
        )
    return found
