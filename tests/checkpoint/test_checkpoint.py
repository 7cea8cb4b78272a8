"""Tests of what is read from the header of a model file alone."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from easyphoto import checkpoint
from easyphoto.config import Family
from easyphoto.errors import EasyPhotoError, InvalidRequest, NotFound
from easyphoto.ports import Checkpoint

UNET = "model.diffusion_model."


def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
    """A safetensors file of zeros in float16."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(end))
    return path


def whole(path: Path, width: int, metadata: dict[str, str] | None = None) -> Path:
    block = 4 if width == 2048 else 1
    return write(
        path,
        {
            f"{UNET}input_blocks.0.0.weight": (8, 4, 3, 3),
            f"{UNET}input_blocks.{block}.1.transformer_blocks.0.attn2.to_k.weight": (8, width),
            "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
        },
        metadata,
    )


@pytest.mark.parametrize(
    ("width", "family"), [(768, Family.SD1), (1024, Family.SD2), (2048, Family.SDXL), (128, Family.BENCH)]
)
def test_the_family_of_a_checkpoint(tmp_path: Path, width: int, family: Family) -> None:
    info = checkpoint.inspect(whole(tmp_path / "a.safetensors", width))
    assert (info.kind, info.family) == ("checkpoint", family)


@pytest.mark.parametrize(
    ("name", "metadata", "beside", "prediction"),
    [
        ("v2-1_768-ema-pruned", {}, "", "v_prediction"),
        ("v2-1_512-ema-pruned", {}, "", "epsilon"),
        ("v2-1-base", {}, "", "epsilon"),
        ("mine", {"modelspec.prediction_type": "epsilon"}, "", "epsilon"),
        ("mine-base", {"modelspec.prediction_type": "v"}, "", "v_prediction"),
        ("base", {}, 'model:\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ("mine", {}, "model:\n  params:\n    linear_start: 0.00085\n", "epsilon"),
    ],
)
def test_the_prediction_of_an_sd2(
    tmp_path: Path, name: str, metadata: dict[str, str], beside: str, prediction: str
) -> None:
    path = whole(tmp_path / f"{name}.safetensors", 1024, metadata)
    if beside:
        path.with_suffix(".yaml").write_text(beside)
    assert checkpoint.inspect(path).prediction == prediction


def test_kinds(tmp_path: Path) -> None:
    controlnet = {
        "control_model.input_hint_block.0.weight": (1,),
        "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 768),
    }
    info = checkpoint.inspect(write(tmp_path / "c.safetensors", controlnet))
    assert (info.kind, info.family) == ("controlnet", Family.SD1)
    assert checkpoint.inspect(write(tmp_path / "v.safetensors", {"decoder.conv_in.weight": (1,)})).kind == "vae"
    with pytest.raises(InvalidRequest, match="neither"):
        checkpoint.inspect(write(tmp_path / "x.safetensors", {"something.else": (1,)}))


@pytest.mark.parametrize(
    ("shapes", "metadata", "family"),
    [
        ({"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 1024)}, {},
         Family.SD2),
        ({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048)}, {}, Family.SDXL),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 768)}, {}, Family.SD1),
        ({"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": (4, 768)}, {}, Family.SD1),
        ({"lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": (4, 1280)}, {}, Family.SDXL),
        ({"lora_unet_x.lora_down.weight": (4, 5)}, {"ss_base_model_version": "sdxl_base_v1-0"}, Family.SDXL),
        ({"lora_unet_x.lora_down.weight": (4, 5)}, {"ss_base_model_version": "sd_v2_768_v"}, Family.SD2),
        ({"lora_unet_x.lora_down.weight": (4, 5)}, {"ss_base_model_version": "easyphoto_bench"}, Family.BENCH),
    ],
)  # fmt: skip
def test_the_family_of_a_lora(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str], family: Family
) -> None:
    info = checkpoint.inspect(write(tmp_path / "l.safetensors", shapes, metadata))
    assert (info.kind, info.family, info.rank) == ("lora", family, 4)


def test_a_lora_of_another_family_is_refused_with_both_names(tmp_path: Path) -> None:
    lora = write(
        tmp_path / "小红.safetensors", {"lora_unet_x.lora_down.weight": (4, 5)}, {"ss_base_model_version": "sd_v1"}
    )
    assert checkpoint.require_same_family(lora, Checkpoint("one", tmp_path, Family.SD1)).family is Family.SD1
    with pytest.raises(InvalidRequest, match=r"小红.*SD1.*big\.safetensors, which is SDXL"):
        checkpoint.require_same_family(lora, Checkpoint("big.safetensors", tmp_path, Family.SDXL))
    with pytest.raises(InvalidRequest, match="not a LoRA"):
        checkpoint.require_same_family(whole(tmp_path / "w.safetensors", 768), Checkpoint("one", tmp_path, Family.SD1))


def test_a_lora_for_a_family_that_is_not_ours_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "f.safetensors", {"x.lora_down.weight": (4, 5)}, {"ss_base_model_version": "flux1"})
    with pytest.raises(InvalidRequest, match="flux1"):
        checkpoint.inspect(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(100), "pickled"),
        (pickle.dumps({"a": 1}, protocol=2) + bytes(50), "pickled"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS"),
        (b"\x05", "truncated"),
        (struct.pack("<Q", 10) + b"not json!!", "header"),
        (struct.pack("<Q", 2) + b"[]", "header"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "header"),
    ],
)
def test_what_is_no_safetensors_says_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=reason) as caught:
        checkpoint.inspect(path)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = whole(tmp_path / "a.safetensors", 768)
    content = path.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InvalidRequest):
        checkpoint.inspect(cut)


_NAMES = (
    f"{UNET}input_blocks.0.0.weight",
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha",
    "control_model.input_hint_block.0.weight",
    "first_stage_model.decoder.conv_in.weight",
)
_SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(shapes=st.dictionaries(st.sampled_from(_NAMES), _SHAPES, min_size=1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tensors_of_impossible_shapes_are_a_sentence(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A broken file must be refused as such: one exception of another kind would hide all other checkpoints."""
    path = write(tmp_path / "odd.safetensors", shapes)
    try:
        checkpoint.inspect(path)
    except InvalidRequest as error:
        assert "odd.safetensors" in str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.safetensors"
    path.write_bytes(struct.pack("<Q", max(0, len(content) - 8)) + content)
    with pytest.raises(EasyPhotoError):
        checkpoint.inspect(path)


def test_bytes_too_many_are_refused(tmp_path: Path) -> None:
    path = whole(tmp_path / "a.safetensors", 768)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InvalidRequest, match="whole"):
        checkpoint.inspect(path)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        checkpoint.inspect(tmp_path / "nothing.safetensors")
    with pytest.raises(InvalidRequest, match=r"no config\.json"):
        checkpoint.inspect(tmp_path)
    for part, config in (
        ("unet", {"cross_attention_dim": 768, "in_channels": 9}),
        ("scheduler", {"prediction_type": "v_prediction"}),
    ):
        (tmp_path / part).mkdir()
        name = "config.json" if part == "unet" else "scheduler_config.json"
        (tmp_path / part / name).write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text("{}")
    info = checkpoint.inspect(tmp_path)
    assert (info.family, info.prediction, info.inputs) == (Family.SD1, "v_prediction", 9)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    with pytest.raises(InvalidRequest, match="whole"):
        checkpoint.inspect(tmp_path)
