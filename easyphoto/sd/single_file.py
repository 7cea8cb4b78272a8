"""Turns a single file in the original naming into diffusers' parts, with configurations of our own and without network.

Diffusers' converters translate the names; the architectures follow from the shapes of the tensors. The converters are
no public part of diffusers. Its ``from_single_file`` can take their place in neither of the pinned versions: a
configuration that is shipped fixes the widths, 0.31 loses what already has diffusers' names, and a weight that is
missing stays without memory (0.31) or is an error that doesn't name it (0.37).
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto import families, naming
from easyphoto.checkpoint import CheckpointInfo
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.sd import shapes as architectures
from easyphoto.sd import strategies
from easyphoto.sd import tokenizers as clip_tokenizers
from easyphoto.sd.parts import Parts
from easyphoto.sd.placement import Placement, placed

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_UNET = "model.diffusion_model."


def load(
    info: CheckpointInfo,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    vae: Any | None,
    tokenizers: Sequence[Path],
) -> Parts:
    """Return the parts of a checkpoint file. Raises what :func:`easyphoto.sd.loading.load` raises.

    The file is mapped into memory anew for each part: what was read of it for one part is let go before the next.
    """
    encoders, names = _text_encoders(read(info.path), info, dtype, tokenizers)
    return Parts(
        family=info.family,
        prediction=info.prediction,
        tokenizers=tuple(names),
        text_encoders=tuple(placed(encoder, device) for encoder in encoders),
        unet=placed(_unet(read(info.path), info.path.name, dtype), device),
        vae=placed(_vae(read(info.path), info.path.name, info.family), device) if vae is None else vae,
        scheduler_config={
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": info.prediction,
            "rescale_betas_zero_snr": "ztsnr" in read(info.path),
        },
        path=info.path,
        placement=Placement(device),
    )


def load_controlnet(path: Path, *, dtype: torch.dtype) -> Any:
    """Return a ControlNet from a file in the original naming or in diffusers'."""
    from diffusers import ControlNetModel
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    state = {name.removeprefix("control_model."): tensor for name, tensor in read(path).items()}
    if "lora_controlnet" in state:
        raise InvalidRequest(
            "{path} is a Control-LoRA, which isn't supported; use the whole ControlNet.", path=path.name
        )
    config = derived(architectures.controlnet, state, path.name)
    # The converter of diffusers 0.31 takes the original naming alone and loses all others.
    ours = "controlnet_cond_embedding.conv_in.weight" in state
    converted = state if ours else convert_controlnet_checkpoint(state, config)
    return build(ControlNetModel, config, converted, path.name, dtype)


def load_vae(path: Path, family: Family) -> Any:
    """Return a VAE, float32, from a file in the original naming or in diffusers'."""
    return _vae(read(path), path.name, family)


def load_image_encoder(path: Path, *, dtype: torch.dtype) -> Any:
    """Return a ``CLIPVisionModelWithProjection`` from a file in the naming of transformers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    state = read(path)
    config = CLIPVisionConfig(**derived(architectures.clip_vision, state, path.name))
    return build(CLIPVisionModelWithProjection, {"config": config}, state, path.name, dtype)


def read(path: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a file by name. Those of a safetensors file lie in the file, which is mapped into memory,
    until they are used. A pickle is read without running what is in it, or refused; where it holds nothing but further
    mappings, a dot stands between their names and those of the tensors in them."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() not in naming.PICKLED:
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError, ValueError) as error:
        raise InvalidRequest(
            "{path} can't be read without running code from it or is broken; use a .safetensors file.", path=path.name
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    if not tensors:
        inner = [(part, own) for part, own in state.items() if isinstance(own, dict)]
        tensors = {f"{p}.{n}": t for p, own in inner for n, t in own.items() if isinstance(t, torch.Tensor)}
    if not tensors:
        raise InvalidRequest("{path} holds no weights.", path=path.name)
    return tensors


# --- parts -----------------------------------------------------------------------------------------------------------


def _unet(state: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = derived(architectures.unet, _under(state, _UNET), name)
    return build(UNet2DConditionModel, config, convert_ldm_unet_checkpoint(state, config), name, dtype)


def _vae(state: Mapping[str, torch.Tensor], name: str, family: Family) -> Any:
    import torch
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    own = _under(state, "first_stage_model.") or dict(state)
    config = {**derived(architectures.vae, own, name), "scaling_factor": families.spec(family).vae_scale}
    ours = "encoder.down_blocks.0.resnets.0.conv1.weight" in own
    converted = _renamed_attention(own) if ours else convert_ldm_vae_checkpoint(own, config)
    return build(AutoencoderKL, config, converted, name, torch.float32)


def _text_encoders(
    state: Mapping[str, torch.Tensor], info: CheckpointInfo, dtype: torch.dtype, folders: Sequence[Path]
) -> tuple[list[Any], list[Any]]:
    """Return the text encoders and tokenizers, in the order in which the UNet takes them."""
    name = info.path.name
    states = [
        _open_clip(state, place.prefix, last=place.last) if place.open_clip else _clip(state, place.prefix)
        for place in strategies.of(info.family).text_places(state)
    ]
    encoders, tokenizers = [], []
    for own in states:
        if not own:
            raise InvalidRequest("{name} has no text encoder; use a whole checkpoint.", name=name)
        open_clip = own.pop("open_clip", None) is not None
        encoders.append(_text_encoder(own, name, dtype, gelu=open_clip))
        tokens = encoders[-1].config.vocab_size
        tokenizers.append(clip_tokenizers.find(folders, tokens, pads_with_zero=open_clip))
    return encoders, tokenizers


def _text_encoder(own: dict[str, torch.Tensor], name: str, dtype: torch.dtype, *, gelu: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = derived(architectures.clip, own, name)
    cls = CLIPTextModelWithProjection if "text_projection.weight" in own else CLIPTextModel
    settings = CLIPTextConfig(**config, hidden_act="gelu" if gelu else "quick_gelu")
    return build(cls, {"config": settings}, own, name, dtype)


def _clip(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    own = _under(state, prefix)
    return {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in own.items()}


def _open_clip(state: Mapping[str, torch.Tensor], prefix: str, *, last: int | None) -> dict[str, Any]:
    """Turn OpenCLIP's naming, with queries, keys and values in one matrix, into that of transformers. With ``last`` -1
    the last layer and the projection are left out."""
    own = _under(state, prefix)
    if not own:
        return {}
    layers = sorted(architectures.numbers(own, r"transformer\.resblocks\.(\d+)\."))[:last]
    found: dict[str, Any] = {"open_clip": True}
    for theirs, ours in _OPEN_CLIP_OUTSIDE.items():
        if theirs in own:
            found[ours] = own[theirs]
    if last is None and "text_projection" in own:
        found["text_projection.weight"] = own["text_projection"].T
    for layer in layers:
        there, here = f"transformer.resblocks.{layer}.", f"text_model.encoder.layers.{layer}."
        for theirs, ours in _OPEN_CLIP_LAYER.items():
            for kind in ("weight", "bias"):
                if f"{there}{theirs}.{kind}" in own:
                    found[f"{here}{ours}.{kind}"] = own[f"{there}{theirs}.{kind}"]
        for kind in ("weight", "bias"):
            joined = own.get(f"{there}attn.in_proj_{kind}")
            for letter, part in zip("qkv", joined.chunk(3) if joined is not None else (), strict=False):
                found[f"{here}self_attn.{letter}_proj.{kind}"] = part
    return found


_OPEN_CLIP_OUTSIDE = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def _renamed_attention(own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn the names that diffusers once gave to the attention of VAEs into today's."""
    now = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    renamed = {}
    for name, tensor in own.items():
        for old, new in now.items():
            name = name.replace(old, new)  # noqa: PLW2901
        renamed[name] = tensor
    return renamed


# --- building --------------------------------------------------------------------------------------------------------


def _under(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def derived(derive: Any, state: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = derive({key: tuple(tensor.shape) for key, tensor in state.items()})
    except (KeyError, ValueError, IndexError) as error:
        raise InvalidRequest("{name} is incomplete or of an architecture that isn't known.", name=name) from error
    return config


def build(cls: Any, arguments: Mapping[str, Any], state: Mapping[str, Any], name: str, dtype: torch.dtype) -> Any:
    """Make the model without memory for its weights, and let the file's own tensors be its weights."""
    import torch

    with torch.device("meta"):
        model = cls(**arguments)
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in state.items() if tensor is not None}
    try:
        missing, unknown = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise InvalidRequest("{name} has weights of unexpected shapes.", name=name) from error
    if missing:
        raise InvalidRequest(
            "{name} is incomplete: {count} weights are missing, the first is {missing}.",
            name=name,
            count=len(missing),
            missing=missing[0],
        )
    if unknown:
        log.debug("%s: %d tensors aren't used", name, len(unknown))
    for module in model.modules():
        # Positions are the one buffer that no file holds.
        if "position_ids" in module._buffers:
            count = module._buffers["position_ids"].shape[-1]
            module._buffers["position_ids"] = torch.arange(count).unsqueeze(0)
    return model
