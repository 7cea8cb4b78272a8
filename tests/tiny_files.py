"""Tiny random models as single files in the original naming: SD1, SD2 and SDXL by their shapes, much narrower.

``parts`` makes the models in diffusers' form, ``single_file`` writes them as one file, so that a test can compare what
is loaded with what was written. Widths of text embeddings are the published ones: a family is told by them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from easyphoto.config import Family
from tests import tiny

LAYERS = 2
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


@dataclass
class Models:
    unet: Any
    vae: Any
    texts: tuple[Any, ...]
    tokens: int


def models(family: Family, tokens: int, seed: int = 0) -> Models:
    """Random models of a family's design: ``tokens`` is the size of their tokenizer."""
    torch.manual_seed(seed)
    if family is Family.SDXL:
        texts: tuple[Any, ...] = (_text(CLIPTextModel, 768, tokens), _text(CLIPTextModelWithProjection, 1280, tokens))
    else:
        texts = (_text(CLIPTextModel, 768 if family is Family.SD1 else 1024, tokens),)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.13025 if family is Family.SDXL else 0.18215,
    )
    return Models(UNet2DConditionModel(**unet_config(family)), vae, texts, tokens)


def unet_config(family: Family) -> dict[str, Any]:
    shared = {"layers_per_block": LAYERS, "norm_num_groups": 32}
    if family is Family.SDXL:
        return {
            **shared,
            "block_out_channels": (64, 64, 128),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 3),
            "attention_head_dim": (1, 1, 2),
            "use_linear_projection": True,
            "cross_attention_dim": 2048,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 1280 + 6 * 256,
        }
    linear = family is Family.SD2
    return {
        **shared,
        "block_out_channels": (64, 128),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (1, 2) if linear else 8,
        "use_linear_projection": linear,
        "cross_attention_dim": 1024 if linear else 768,
    }


def single_file(path: Path, family: Family, made: Models, *, prediction: str | None = None) -> Path:
    """Write ``made`` as one safetensors file in the original naming."""
    state = {f"model.diffusion_model.{k}": v for k, v in original_unet(made.unet.state_dict()).items()}
    state.update({f"first_stage_model.{k}": v for k, v in original_vae(made.vae.state_dict()).items()})
    if family is Family.SD1:
        state.update({f"cond_stage_model.transformer.{k}": v for k, v in made.texts[0].state_dict().items()})
    elif family is Family.SD2:
        state.update({f"cond_stage_model.model.{k}": v for k, v in open_clip(made.texts[0], spare=True).items()})
    else:
        clip = made.texts[0].state_dict()
        state.update({f"conditioner.embedders.0.transformer.{k}": v for k, v in clip.items()})
        state.update({f"conditioner.embedders.1.model.{k}": v for k, v in open_clip(made.texts[1]).items()})
    metadata = {"modelspec.prediction_type": prediction} if prediction else None
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path, metadata=metadata)
    return path


def controlnet_file(path: Path, width: int = 768, *, pickled: bool = False) -> ControlNetModel:
    """A ControlNet in the original naming, and the model that it holds."""
    torch.manual_seed(3)
    config = {k: v for k, v in unet_config(Family.SD1).items() if k != "up_block_types"}
    model = ControlNetModel(**{**config, "cross_attention_dim": width})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    state = {f"control_model.{k}": v.contiguous().clone() for k, v in original_unet(model.state_dict()).items()}
    if pickled:
        torch.save({"state_dict": state}, path)
    else:
        save_file(state, path)
    return model


def _text(cls: Any, width: int, tokens: int) -> Any:
    config: CLIPTextConfig = tiny.text_config(width, tokens)
    config.num_attention_heads = width // 64
    config.intermediate_size = 64
    config.projection_dim = width
    config.hidden_act = "quick_gelu" if width == 768 else "gelu"
    return cls(config)


def original_unet(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A UNet's or ControlNet's tensors by their original names."""
    return {_original(name): tensor for name, tensor in state.items()}


def _original(name: str) -> str:
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    if name.startswith("controlnet_"):
        return _original_control(name)
    found = re.match(r"(down_blocks|mid_block|up_blocks)\.?(\d*)\.(\w+)\.(\d+)\.(.+)", name)
    assert found, name
    side, block, kind, index, rest = found.groups()
    child = {"resnets": "0", "attentions": "1"}.get(kind, "")
    if kind == "resnets":
        head, _, tail = rest.rpartition(".")
        rest = f"{_RESNET[head]}.{tail}"
    if side == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(index)}.{rest}"
    base = int(block) * (LAYERS + 1)
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{base + LAYERS + 1}.0.op.{rest.split('.')[-1]}"
        return f"input_blocks.{1 + base + int(index)}.{child}.{rest}"
    if kind == "upsamplers":
        # In the original, the sampler comes third where the block has attention, and second where it has none.
        return f"output_blocks.{base + LAYERS}.{_upsampler(int(block))}.conv.{rest.split('.')[-1]}"
    return f"output_blocks.{base + int(index)}.{child}.{rest}"


def _upsampler(block: int) -> int:
    return 2 if block else 1


def _original_control(name: str) -> str:
    last = name.rpartition(".")[2]
    if found := re.match(r"controlnet_down_blocks\.(\d+)", name):
        return f"zero_convs.{found.group(1)}.0.{last}"
    if name.startswith("controlnet_mid_block"):
        return f"middle_block_out.0.{last}"
    if found := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)", name):
        return f"input_hint_block.{2 * int(found.group(1)) + 2}.{last}"
    return f"input_hint_block.{0 if 'conv_in' in name else 14}.{last}"


def original_vae(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A VAE's tensors by their original names."""
    renamed = {}
    for name, tensor in state.items():
        new = name
        for pattern, to in (
            (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2"),
            (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample"),
            (r"mid_block\.attentions\.0", "mid.attn_1"),
            (r"mid_block\.resnets\.0", "mid.block_1"),
            (r"mid_block\.resnets\.1", "mid.block_2"),
            (r"attn_1\.group_norm", "attn_1.norm"),
            (r"attn_1\.to_([qkv])", r"attn_1.\1"),
            (r"attn_1\.to_out\.0", "attn_1.proj_out"),
            ("conv_shortcut", "nin_shortcut"),
            ("conv_norm_out", "norm_out"),
        ):
            new = re.sub(pattern, to, new)
        if up := re.match(r"decoder\.up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)\.(.*)", new):
            block = 3 - int(up.group(1))
            inside = f"block.{up.group(3)}" if up.group(3) else "upsample"
            new = f"decoder.up.{block}.{inside}.{up.group(4)}"
        is_matrix = "attn_1" in new and tensor.dim() == 2
        renamed[new] = tensor[:, :, None, None] if is_matrix else tensor
    return renamed


def open_clip(model: Any, *, spare: bool = False) -> dict[str, torch.Tensor]:
    """A text encoder's tensors by OpenCLIP's names; ``spare`` adds the last layer that SD2 doesn't use."""
    state = model.state_dict()
    found = {
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": state["text_model.final_layer_norm.weight"],
        "ln_final.bias": state["text_model.final_layer_norm.bias"],
        "logit_scale": torch.ones(()),
    }
    width = found["ln_final.weight"].shape[0]
    found["text_projection"] = state.get("text_projection.weight", torch.zeros(width, width)).T
    layers = model.config.num_hidden_layers
    for layer in range(layers + spare):
        here, there = f"text_model.encoder.layers.{min(layer, layers - 1)}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            joined = [state[f"{here}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            found[f"{there}attn.in_proj_{kind}"] = torch.cat(joined)
            for ours, theirs in (
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                found[f"{there}{theirs}.{kind}"] = state[f"{here}{ours}.{kind}"]
    return found
