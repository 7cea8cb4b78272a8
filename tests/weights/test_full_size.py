"""Full-size SD1.5, SD2.1 and SDXL as single files in the original naming, made up and dropped again.

SD2 and SDXL are sparse files of zeros, which take no room; SD1.5 holds random numbers and makes a picture.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from easyphoto import checkpoint, sd
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.memory import TABLE
from easyphoto.ports import Txt2Img
from easyphoto.sd import render
from tests import tiny, tiny_files

pytestmark = pytest.mark.slow
TOKENS = 49408
UNETS: dict[Family, dict[str, Any]] = {
    Family.SD1: {"cross_attention_dim": 768, "attention_head_dim": 8},
    Family.SD2: {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
    Family.SDXL: {
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "use_linear_projection": True,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def text(cls: Any, width: int, layers: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=TOKENS,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        max_position_embeddings=77,
    )
    return cls(config)


def state_of(family: Family) -> dict[str, torch.Tensor]:
    """Names and shapes of a checkpoint of the family as it is published; the tensors have no contents."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS[family])
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
        state = {f"model.diffusion_model.{k}": v for k, v in tiny_files.original_unet(unet.state_dict()).items()}
        state |= {f"first_stage_model.{k}": v for k, v in tiny_files.original_vae(vae.state_dict()).items()}
        clip = text(CLIPTextModel, 768, 12).state_dict()
        if family is Family.SD1:
            state |= {f"cond_stage_model.transformer.{k}": v for k, v in clip.items()}
        elif family is Family.SD2:
            large = tiny_files.open_clip(text(CLIPTextModel, 1024, 23), spare=True)
            state |= {f"cond_stage_model.model.{k}": v for k, v in large.items()}
        else:
            large = tiny_files.open_clip(text(CLIPTextModelWithProjection, 1280, 32))
            state |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in clip.items()}
            state |= {f"conditioner.embedders.1.model.{k}": v for k, v in large.items()}
    if family is Family.SDXL:
        # The sampler of a block with attention comes third in the published file.
        state = {re.sub(r"output_blocks\.2\.1\.conv", "output_blocks.2.2.conv", k): v for k, v in state.items()}
    return state


def write(path: Path, state: dict[str, torch.Tensor], random: bool) -> Path:
    """The file in 16 bits, tensor by tensor: normal numbers of a small network's size, or nothing but its length."""
    entries: dict[str, Any] = {}
    end = 0
    for name, tensor in state.items():
        start, end = end, end + 2 * tensor.numel()
        entries[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    source = np.random.default_rng(1).standard_normal(1_000_003, dtype=np.float32)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if random:
            for name, tensor in state.items():
                norm = "norm" in name or ".ln_" in name or tensor.dim() == 1
                scale = 0.0 if norm else tensor[0].numel() ** -0.5
                shift = 1.0 if norm and name.endswith("weight") else 0.0
                numbers = np.resize(source, tensor.numel()) * np.float32(scale) + np.float32(shift)
                file.write(numbers.astype(np.float16).tobytes())
        else:
            file.truncate(8 + len(header) + end)
    return path


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with as many tokens as CLIP's, most of them never used."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer(folder)
    known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    marks = ["<|startoftext|>", "<|endoftext|>"]
    words = [w for w in known if w not in marks]
    words += [f"unused{i}</w>" for i in range(TOKENS - len(words) - 2)] + marks
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}), encoding="utf-8")
    return folder


@pytest.fixture(params=[Family.SD1, Family.SD2, Family.SDXL], ids=lambda f: f.value)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Family, Path]]:
    family: Family = request.param
    path = write(tmp_path / f"{family.value}.safetensors", state_of(family), random=family is Family.SD1)
    yield family, path
    path.unlink()


def test_a_full_checkpoint_is_known_at_once_and_loads_whole(written: tuple[Family, Path], vocabulary: Path) -> None:
    family, path = written
    start = time.perf_counter()
    info = checkpoint.inspect(path)
    assert time.perf_counter() - start < 0.5, "the header alone is read"
    assert info.family is family and info.kind == "checkpoint"
    parts = sd.load(path, device="cpu", dtype=torch.float16, tokenizers=[vocabulary])
    table = TABLE[family]
    assert sum(p.numel() for p in parts.unet.parameters()) == table.unet
    assert sum(p.numel() for t in parts.text_encoders for p in t.parameters()) == table.text
    assert sum(p.numel() for p in parts.vae.parameters()) == table.vae
    assert parts.unet.dtype == torch.float16 and len(parts.tokenizers) == len(parts.text_encoders)
    if family is Family.SD1:
        parts = sd.load(path, device="cpu", dtype=torch.bfloat16, tokenizers=[vocabulary])
        job = Txt2Img(prompt="a person", width=64, height=64, steps=1, seed=3, sampler="Euler", cfg_scale=1.0)
        image = render.txt2img(parts, job, {}, None).image
        assert image.shape == (64, 64, 3) and image.std() > 1, "numbers went all the way through"


def test_half_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "sd1.safetensors", state_of(Family.SD1), random=False)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(InvalidRequest):
        checkpoint.inspect(path)
