"""Tiny random adapters in the layouts in which IP-Adapter's files are published, and a tiny image encoder of CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

CLIP_WIDTH, CLIP_VECTOR = 32, 24
"""The features of a patch, and those of a whole picture."""
TOKENS, DEPTH, INNER, HEAD = 4, 4, 48, 64


def image_encoder(folder: Path, seed: int = 5, heads: int = 4) -> Path:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=CLIP_WIDTH, intermediate_size=64, num_hidden_layers=3, num_attention_heads=heads, image_size=32,
        patch_size=8, projection_dim=CLIP_VECTOR,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def write(path: Path, unet: Any, layout: str, *, face: int = 2, seed: int = 6, **metadata: str) -> Path:
    """Write an adapter for ``unet``. ``layout``: plain, full, plus, faceid or instantid; faceid-lora and faceid-plus
    have a LoRA beside. ``face``: the numbers of a face's vector. A ``.bin`` file is a pickle of two mappings."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.5

    text = unet.config.cross_attention_dim
    nets = {"plain": _plain, "full": _full, "plus": _plus}
    nets |= {name: lambda some, text: _face_id(some, text, face) for name in ("faceid", "faceid-lora")}
    nets["faceid-plus"] = lambda some, text: _face_id_plus(some, text, face)
    nets["instantid"] = lambda some, text: _plus(some, text, face)
    state = {f"image_proj.{name}": tensor for name, tensor in nets[layout](some, text).items()}
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for place, name in enumerate(crossing):
        shape = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * place + 1}.{part}.weight"] = some(*shape)
    if layout in ("faceid-lora", "faceid-plus"):
        state |= _lora(some, unet)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        parts: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in state.items():
            parts[name.split(".")[0]][name.split(".", 1)[1]] = tensor.half()
        torch.save(parts, path)
        return path
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, path, metadata=metadata)
    return path


def _plain(some: Any, text: int) -> dict[str, torch.Tensor]:
    net = {"proj.weight": some(TOKENS * text, CLIP_VECTOR), "proj.bias": some(TOKENS * text)}
    return {**net, "norm.weight": some(text), "norm.bias": some(text)}


def _full(some: Any, text: int) -> dict[str, torch.Tensor]:
    net = {"proj.0.weight": some(CLIP_WIDTH, CLIP_WIDTH), "proj.0.bias": some(CLIP_WIDTH)}
    net |= {"proj.2.weight": some(text, CLIP_WIDTH), "proj.2.bias": some(text)}
    return {**net, "proj.3.weight": some(text), "proj.3.bias": some(text)}


def _face_id(some: Any, text: int, face: int) -> dict[str, torch.Tensor]:
    net = {"proj.0.weight": some(2 * face, face), "proj.0.bias": some(2 * face)}
    net |= {"proj.2.weight": some(TOKENS * text, 2 * face), "proj.2.bias": some(TOKENS * text)}
    return {**net, "norm.weight": some(text), "norm.bias": some(text)}


def _plus(some: Any, text: int, width: int = CLIP_WIDTH) -> dict[str, torch.Tensor]:
    net = {"latents": some(1, TOKENS, INNER)}
    net |= {"proj_in.weight": some(INNER, width), "proj_in.bias": some(INNER)}
    net |= {"proj_out.weight": some(text, INNER), "proj_out.bias": some(text)}
    net |= {"norm_out.weight": some(text), "norm_out.bias": some(text)}
    return {**net, **_layers(some, INNER)}


def _face_id_plus(some: Any, text: int, face: int) -> dict[str, torch.Tensor]:
    """The net of FaceID-plus: tokens of the face, which look at the patches."""
    net = _face_id(some, text, face)
    resampler = {"proj_in.weight": some(text, CLIP_WIDTH), "proj_in.bias": some(text)}
    resampler |= {"proj_out.weight": some(text, text), "proj_out.bias": some(text)}
    resampler |= {"norm_out.weight": some(text), "norm_out.bias": some(text)}
    resampler |= _layers(some, text)
    return {**net, **{f"perceiver_resampler.{name}": tensor for name, tensor in resampler.items()}}


def _lora(some: Any, unet: Any) -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 on all attentions of a UNet, which are numbered in their order."""
    state = {}
    for place, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        layers = {"to_q": attention.to_q, "to_k": attention.to_k, "to_v": attention.to_v, "to_out": attention.to_out[0]}
        for layer, module in layers.items():
            wide, narrow = module.weight.shape
            state[f"ip_adapter.{place}.{layer}_lora.down.weight"] = some(4, narrow) * 0.2
            state[f"ip_adapter.{place}.{layer}_lora.up.weight"] = some(wide, 4) * 0.2
    return state


def _layers(some: Any, inner: int) -> dict[str, torch.Tensor]:
    """The layers of a resampler."""
    net = {}
    for layer in range(DEPTH):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            net[f"layers.{layer}.{norm}.weight"], net[f"layers.{layer}.{norm}.bias"] = some(inner), some(inner)
        net[f"layers.{layer}.0.to_q.weight"] = some(HEAD, inner)
        net[f"layers.{layer}.0.to_kv.weight"] = some(2 * HEAD, inner)
        net[f"layers.{layer}.0.to_out.weight"] = some(inner, HEAD)
        net[f"layers.{layer}.1.1.weight"] = some(4 * inner, inner)
        net[f"layers.{layer}.1.3.weight"] = some(inner, 4 * inner)
    return net
