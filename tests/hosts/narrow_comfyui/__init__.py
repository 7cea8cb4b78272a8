"""A custom node without nodes: it has ComfyUI take the models of ``make_narrow_comfyui`` for Stable Diffusion 1.5,
which it knows by its width."""

from __future__ import annotations

from functools import wraps
from typing import Any

import comfy.sd
import comfy.supported_models

WIDTH = 32
NODE_CLASS_MAPPINGS: dict[str, type] = {}

comfy.supported_models.SD15.unet_config = {**comfy.supported_models.SD15.unet_config, "model_channels": WIDTH}
_whole = comfy.sd.AutoencoderKL


@wraps(_whole)
def _narrow(*args: Any, ddconfig: dict[str, Any], **more: Any) -> Any:
    return _whole(*args, ddconfig={**ddconfig, "ch": WIDTH}, **more)


comfy.sd.AutoencoderKL = _narrow
