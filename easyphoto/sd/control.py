"""Several ControlNets at once, weighted as the WebUI's ControlNet extension does in "my prompt is more important".

In that mode the weight of a control falls from the deepest features to the shallowest by 0.825 a block, over the 13
features that a full-size model has: the coarse layout follows the control, the fine detail the prompt. Models of other
depth fall from 1 to the same 0.825^12 at the shallowest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.ports import Control, ControlRole, IdentityKind, Image

if TYPE_CHECKING:
    import torch

    from easyphoto.sd.adapter import Cue

FALLOFF = 0.825
_FULL_DEPTH = 12


@dataclass(frozen=True, eq=False)
class Hint:
    """A ControlNet and the picture that it follows: ``picture`` is (1, 3, height, width) in [0, 1]. ``attends`` is the
    number of the adapter whose tokens the ControlNet attends to; None: to the text."""

    model: Any
    picture: torch.Tensor
    weight: float
    attends: int | None = None


@dataclass(frozen=True, eq=False)
class Residuals:
    """What ControlNets add to a UNet: one tensor for each skip connection, and one for the middle."""

    down: list[torch.Tensor]
    mid: torch.Tensor


def layer_weights(count: int, *, soft: bool) -> list[float]:
    """Return the factors of ``count`` residuals, from the shallowest one to that of the middle."""
    if not soft:
        return [1.0] * count
    step = _FULL_DEPTH / max(count - 1, 1)
    return [FALLOFF ** ((count - 1 - index) * step) for index in range(count)]


def hints(
    controls: Sequence[Control],
    models: Mapping[ControlRole | IdentityKind, Any],
    size: tuple[int, int],
    like: torch.Tensor,
) -> list[Hint]:
    """Return the hints of a job at its ``size`` (height, width), on the device and in the type of ``like``.

    Raises :class:`InvalidRequest` for a control that is no map, because making maps is the work of the host.
    """
    made = []
    for control in controls:
        if control.role not in models:
            raise AssetMissing("There is no ControlNet for {role}.", role=control.role.value)
        if not control.is_map:
            raise InvalidRequest("The control {role} is a picture where a map was needed.", role=control.role.value)
        made.append(Hint(models[control.role], _pixels(control.image, size, like), control.weight))
    return made


def placings(
    cues: Sequence[Cue], models: Mapping[ControlRole | IdentityKind, Any], size: tuple[int, int], like: torch.Tensor
) -> list[Hint]:
    """Return the hints of those adapters that hold a face in its place by a ControlNet of their own."""
    return [
        Hint(models[cue.placing.net], _pixels(cue.placing.picture, size, like), cue.placing.weight, index)
        for index, cue in enumerate(cues)
        if cue.placing is not None
    ]


def _pixels(picture: Image, size: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """A map at ``size`` as a ControlNet takes it."""
    import cv2
    import numpy as np
    import torch

    if picture.shape[:2] != size:
        shrinks = picture.shape[0] * picture.shape[1] > size[0] * size[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=way), np.uint8)
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0)
    return (tensor.float() / 255).to(like)


def residuals(
    hints: Sequence[Hint],
    x: torch.Tensor,
    t: torch.Tensor,
    context: torch.Tensor,
    *,
    soft: bool,
    tokens: Sequence[torch.Tensor] = (),
    **more: Any,
) -> Residuals | None:
    """Return the weighted sum of what all controls add for the UNet input ``x`` (batch, 4, h, w); None without a
    control. ``tokens`` are those of the adapters that the UNet wears, (batch, tokens, width) each."""
    total: Residuals | None = None
    for hint in hints:
        if hint.weight == 0:
            continue
        picture = hint.picture.expand(x.shape[0], -1, -1, -1)
        seen = context if hint.attends is None else tokens[hint.attends]
        down, mid = hint.model(x, t, encoder_hidden_states=seen, controlnet_cond=picture, return_dict=False, **more)
        factors = [hint.weight * f for f in layer_weights(len(down) + 1, soft=soft)]
        down = [d * f for d, f in zip(down, factors, strict=False)]
        mid = mid * factors[-1]
        total = (
            Residuals(down, mid)
            if total is None
            else Residuals([a + b for a, b in zip(total.down, down, strict=True)], total.mid + mid)
        )
    return total
