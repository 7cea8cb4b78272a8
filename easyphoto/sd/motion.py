"""Motion modules of AnimateDiff: the layers that look along time, and the UNet that has them.

A module is read from a folder of diffusers (a ``MotionAdapter``) or from one file, in the original naming or in
diffusers'. Its architecture follows from the shapes of its tensors. The UNet with motion is made of the very layers of
the checkpoint's UNet, so that it takes no second copy of them and wears the LoRAs that they wear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from easyphoto.errors import InvalidRequest
from easyphoto.sd import single_file
from easyphoto.sd.loading import pretrained
from easyphoto.sd.shapes import HEADS, Shapes, count_of

_RENAMED = {
    ".attention_blocks.0.pos_encoder.pe": ".pos_embed.pe",
    ".temporal_transformer": "",
    ".norms.0": ".norm1",
    ".norms.1": ".norm2",
    ".ff_norm": ".norm3",
    ".attention_blocks.0": ".attn1",
    ".attention_blocks.1": ".attn2",
}
"""The original's names of a module's layers -> those of diffusers, in the order in which they are to be replaced."""
_LAYER = re.compile(r"(?:module\.)?((?:down_blocks|up_blocks|mid_block)\..*motion_modules\..+)")


def load(path: Path, *, dtype: torch.dtype, groups: int = 32) -> Any:
    """Return a ``MotionAdapter`` in ordinary memory.

    ``groups`` is how many groups the norms of the base model have, and so those of its motion modules; a single file
    tells nothing of them. Raises :class:`InvalidRequest` with one sentence for whatever is no module, and for one that
    is incomplete or needs inputs of its own (PIA).
    """
    adapter = _load_folder(path, dtype) if path.is_dir() else _load_file(path, dtype, groups)
    return adapter.eval().requires_grad_(False)


def config(shapes: Shapes) -> dict[str, Any]:
    """Return ``MotionAdapter``'s arguments for a module with diffusers' names. The number of heads is none of what
    shapes tell: every published module has 8. KeyError or ValueError where the shapes are those of no module."""
    blocks = range(count_of(shapes, r"down_blocks\.(\d+)\."))
    counted = [count_of(shapes, rf"down_blocks\.{block}\.motion_modules\.(\d+)\.") for block in blocks]
    return {
        "block_out_channels": tuple(shapes[f"down_blocks.{block}.motion_modules.0.norm.weight"][0] for block in blocks),
        "motion_layers_per_block": tuple(counted),
        "motion_transformer_layers_per_block": tuple(
            count_of(shapes, rf"down_blocks\.{block}\.motion_modules\.0\.transformer_blocks\.(\d+)\.")
            for block in blocks
        ),
        "motion_num_attention_heads": HEADS,
        "motion_max_seq_length": shapes["down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"][1],
        "use_motion_mid_block": any(name.startswith("mid_block.") for name in shapes),
    }


def compose(unet: Any, adapter: Any, name: str) -> Any:
    """Return a ``UNetMotionModel`` of the layers of ``unet`` and ``adapter``, whose file is called ``name``. Raises
    :class:`InvalidRequest` when they don't fit."""
    from diffusers import UNetMotionModel

    theirs, ours = (tuple(model.config["block_out_channels"]) for model in (adapter, unet))
    if theirs != ours:
        raise _unlike(name, theirs, ours)
    try:
        with torch.device("meta"):
            model = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
    except ValueError as error:
        raise _unlike(name, theirs, ours) from error
    for part in ("conv_in", "time_proj", "time_embedding", "add_time_proj", "add_embedding", "conv_norm_out"):
        _take(model, unet, part)
    _take(model, unet, "conv_out")
    for side in ("down_blocks", "up_blocks"):
        for made, plain, moving in zip(getattr(model, side), getattr(unet, side), getattr(adapter, side), strict=True):
            for part in ("resnets", "attentions", "downsamplers", "upsamplers"):
                _take(made, plain, part)
            made.motion_modules = moving.motion_modules
    _take(model.mid_block, unet.mid_block, "resnets")
    _take(model.mid_block, unet.mid_block, "attentions")
    if adapter.mid_block is not None:
        model.mid_block.motion_modules = adapter.mid_block.motion_modules
    if any(weight.is_meta for weight in model.state_dict().values()):
        raise _unlike(name, theirs, ours)
    return model.eval().requires_grad_(False)


def _take(made: Any, source: Any, part: str) -> None:
    """Let ``made`` use the very module that ``source`` has under the name ``part``, if it has one."""
    module = getattr(source, part, None)
    if module is not None:
        setattr(made, part, module)


def _unlike(name: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> InvalidRequest:
    return InvalidRequest(
        "The motion module {name} was made for another kind of model than the base model: its blocks have the widths "
        "{theirs}, the base model's {ours}.",
        name=name,
        theirs=", ".join(map(str, theirs)),
        ours=", ".join(map(str, ours)),
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _load_folder(folder: Path, dtype: torch.dtype) -> Any:
    from diffusers import MotionAdapter

    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    if not isinstance(told, dict) or told.get("_class_name") != "MotionAdapter":
        raise InvalidRequest("The folder {folder} holds no motion module in diffusers' layout.", folder=folder.name)
    if told.get("conv_in_channels"):
        raise _pia(folder.name)
    return pretrained(MotionAdapter, folder, dtype)


def _load_file(path: Path, dtype: torch.dtype, groups: int) -> Any:
    from diffusers import MotionAdapter

    state = single_file.read(path)
    own = _renamed(state)
    if not own:
        raise InvalidRequest("{path} holds no motion module.", path=path.name)
    if any(name.endswith("conv_in.weight") for name in state):
        raise _pia(path.name)
    arguments = {**single_file.derived(config, own, path.name), "motion_norm_num_groups": groups}
    return single_file.build(MotionAdapter, arguments, own, path.name, dtype)


def _renamed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the layers of a module by diffusers' names. Both attentions of a block have the same positions in the
    original, of which diffusers keeps one."""
    own = {}
    for name, tensor in state.items():
        found = _LAYER.fullmatch(name)
        if found is None or ".attention_blocks.1.pos_encoder." in name:
            continue
        ours = found.group(1)
        for old, new in _RENAMED.items():
            ours = ours.replace(old, new)
        own[ours] = tensor
    return own


def _pia(name: str) -> InvalidRequest:
    return InvalidRequest("{name} is a module of PIA, which isn't supported: choose one of AnimateDiff's.", name=name)
