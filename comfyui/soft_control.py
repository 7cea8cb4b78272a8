"""A ControlNet that holds the layout and leaves the detail to the prompt, as WebUIs have it under "my prompt is more
important"."""

from __future__ import annotations

from functools import cache
from typing import Any

FALLOFF = 0.825
FULL_DEPTH = 12


class EasyPhotoSoftControl:
    """Weighs a ControlNet less from its deepest feature to its shallowest: by 0.825 for each block of a full-size
    model."""

    CATEGORY = "EasyPhoto"
    DESCRIPTION = "My prompt is more important: the ControlNet holds the layout and leaves fine detail to the prompt."
    RETURN_TYPES = ("CONTROL_NET",)
    FUNCTION = "soften"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"control_net": ("CONTROL_NET",)}}

    def soften(self, control_net: Any) -> tuple[Any]:
        soft = control_net.copy()
        kind: Any = type(soft)
        soft.__class__ = _soft(kind)
        return (soft,)


@cache
def _soft(kind: Any) -> Any:
    """The soft kind of a kind of ControlNet."""

    class Soft(kind):  # type: ignore[misc]
        def copy(self) -> Any:
            made = super().copy()
            made.__class__ = type(self)
            return made

        def control_merge(self, control: dict[str, list[Any]], *more: Any, **named: Any) -> Any:
            soft = {key: _weighed(key, found) for key, found in control.items()}
            return super().control_merge(soft, *more, **named)

    return Soft


def _weighed(key: str, features: list[Any]) -> list[Any]:
    """The features of one part of a UNet, from the shallowest on; that of the middle is the deepest of all."""
    if key == "middle":
        return features
    step = FULL_DEPTH / max(len(features), 1)
    return [
        None if feature is None else feature * FALLOFF ** ((len(features) - index) * step)
        for index, feature in enumerate(features)
    ]
