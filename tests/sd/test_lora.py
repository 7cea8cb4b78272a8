"""Tests of LoRA files: their names, how they are read and written, and how a LoRA is applied and taken off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from easyphoto import families, sd
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.sd import lora, lora_names, strategies
from tests import tiny


def written(path: Path, parts: sd.Parts, **more: Any) -> Path:
    layers = tiny.lora_layers(parts, **more)
    lora.write(path, layers, lora.metadata(parts.family, layers), dtype=torch.float32)
    return path


def state(parts: sd.Parts) -> dict[str, torch.Tensor]:
    models = {"unet": parts.unet, "text": parts.text_encoder}
    return {f"{m}.{k}": v.clone() for m, model in models.items() for k, v in model.state_dict().items()}


def prediction(unet: Any) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    x = torch.randn((2, 4, 8, 8), generator=random)
    context = torch.randn((2, 77, tiny.WIDTH), generator=random)
    with torch.no_grad():
        return torch.as_tensor(unet(x, 500, encoder_hidden_states=context).sample)


@pytest.fixture
def fresh(tiny_folder: Path) -> sd.Parts:
    return sd.load(tiny_folder, device="cpu", dtype=torch.float32)


def test_every_module_name_is_one_of_its_own(parts: sd.Parts) -> None:
    linear = [m for model in (parts.unet, parts.text_encoder) for m in model.modules() if hasattr(m, "in_features")]
    convolutions = [m for m in parts.unet.modules() if isinstance(m, torch.nn.Conv2d)]
    named = lora.modules(parts)
    assert len(named) == len(linear) + len(convolutions)
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0" in named
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj" in named


def test_what_was_written_is_read(tmp_path: Path, parts: sd.Parts) -> None:
    layers = tiny.lora_layers(parts)
    path = tmp_path / "名字.safetensors"
    lora.write(path, layers, lora.metadata(parts.family, layers, {"ss_steps": "100"}), dtype=torch.float32)
    read = lora.read(path)
    assert set(read.layers) == set(layers)
    for name, layer in layers.items():
        assert torch.equal(read.layers[name].down, layer.down)
        assert torch.equal(read.layers[name].up, layer.up)
        assert read.layers[name].alpha == layer.alpha
    assert (read.info.family, read.info.rank, read.info.alpha) == (Family.BENCH, 4, 2.0)
    assert read.metadata["ss_steps"] == "100"
    assert not list(tmp_path.glob("*.part"))


def test_the_change_is_up_times_down_scaled(parts: sd.Parts) -> None:
    layer = lora.LoraLayer(torch.randn(4, 6), torch.randn(5, 4), alpha=2.0)
    assert torch.allclose(layer.delta(), 0.5 * layer.up @ layer.down, atol=1e-6)
    convolution = lora.LoraLayer(torch.randn(4, 6, 3, 3), torch.randn(5, 4, 1, 1), alpha=4.0)
    expected = torch.einsum("or,rikl->oikl", convolution.up.flatten(1), convolution.down)
    assert torch.allclose(convolution.delta(), expected, atol=1e-5)


def test_several_loras_come_off_bit_for_bit(fresh: sd.Parts) -> None:
    before, identities = state(fresh), [id(p) for p in fresh.unet.parameters()]
    first, second = tiny.lora_layers(fresh, seed=1), tiny.lora_layers(fresh, seed=2)
    with lora.applied(fresh, [(first, 0.8), (second, -0.3)]):
        name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
        key = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
        expected = before[key] + 0.8 * first[name].delta() - 0.3 * second[name].delta()
        assert torch.allclose(state(fresh)[key], expected, atol=1e-6)
        assert not torch.equal(state(fresh)["text." + _TEXT_KEY], before["text." + _TEXT_KEY])
    after = state(fresh)
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert identities == [id(p) for p in fresh.unet.parameters()]


_TEXT_KEY = "text_model.encoder.layers.0.self_attn.q_proj.weight"


def test_they_come_off_after_an_error_too(fresh: sd.Parts) -> None:
    before = state(fresh)
    with pytest.raises(RuntimeError), lora.applied(fresh, [(tiny.lora_layers(fresh), 1.0)]):
        raise RuntimeError("the picture failed")
    assert all(torch.equal(before[k], v) for k, v in state(fresh).items())


def test_in_bfloat16_they_come_off_bit_for_bit(tiny_folder: Path) -> None:
    parts = sd.load(tiny_folder, device="cpu", dtype=torch.bfloat16)
    before = state(parts)
    with lora.applied(parts, [(tiny.lora_layers(parts), 1.0)]):
        assert parts.dtype == torch.bfloat16
    assert all(torch.equal(before[k], v) for k, v in state(parts).items())


def test_diffusers_opens_the_file_and_predicts_the_same(tmp_path: Path, tiny_folder: Path, fresh: sd.Parts) -> None:
    from diffusers import StableDiffusionPipeline

    path = written(tmp_path / "person.safetensors", fresh, scale=0.3)
    bare = prediction(fresh.unet)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder)
    assert torch.allclose(prediction(pipeline.unet), bare, atol=1e-5)
    pipeline.load_lora_weights(tmp_path, weight_name=path.name)
    ids = fresh.tokenizer("photo", return_tensors="pt").input_ids
    with lora.applied(fresh, [(lora.read(path).layers, 1.0)]), torch.no_grad():
        ours = prediction(fresh.unet)
        text = fresh.text_encoder(ids).last_hidden_state
    theirs = prediction(pipeline.unet)
    assert (ours - bare).abs().max() > 0.01
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(text, pipeline.text_encoder(ids).last_hidden_state, atol=1e-5)


def test_what_peft_holds_is_collected_and_predicts_the_same(fresh: sd.Parts, tiny_folder: Path) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_k", "to_out.0", "ff.net.2"])
    fresh.unet.add_adapter(config)
    for name, parameter in fresh.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    layers = lora.collect(fresh)
    assert layers
    assert all(layer.alpha == 2 and layer.rank == 4 for layer in layers.values())
    other = sd.load(tiny_folder, device="cpu", dtype=torch.float32)
    assert set(layers) <= set(lora.modules(other))
    assert set(lora.modules(fresh)) == set(lora.modules(other))
    with lora.applied(other, [(layers, 1.0)]):
        assert torch.allclose(prediction(other.unet), prediction(fresh.unet), atol=1e-5)


def test_files_in_the_naming_of_diffusers_are_read(tmp_path: Path, parts: sd.Parts) -> None:
    down, up = torch.randn(4, 32), torch.randn(32, 4)
    module = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    for ending in (".lora_A.weight", ".lora.down.weight"):
        path = tmp_path / f"{len(ending)}.safetensors"
        save_file({module + ending: down, module + ending.replace("A", "B").replace("down", "up"): up}, path)
        with pytest.raises(InvalidRequest, match="doesn't say"):
            lora.read(path)
        save_file(load_file(path), path, metadata={"ss_base_model_version": "sd_v1"})
        (name,) = lora.read(path).layers
        assert name == "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def test_another_models_lora_is_refused_and_nothing_changes(tmp_path: Path, fresh: sd.Parts) -> None:
    wide = sd.load(tiny.folder(tmp_path / "wide", channels=(64, 64)), device="cpu", dtype=torch.float32)
    before = state(fresh)
    with pytest.raises(InvalidRequest, match="another model"), lora.applied(fresh, [(tiny.lora_layers(wide), 1.0)]):
        pass
    nothing = {"lora_unet_somewhere_else": lora.LoraLayer(torch.zeros(1, 1), torch.zeros(1, 1), 1)}
    with pytest.raises(InvalidRequest, match="another one"), lora.applied(fresh, [(nothing, 1.0)]):
        pass
    assert all(torch.equal(before[k], v) for k, v in state(fresh).items())


def test_kinds_beside_plain_lora_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "lokr.safetensors"
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lokr_w1"
    save_file({key: torch.zeros(2, 2)}, path, metadata={"ss_base_model_version": "sd_v1"})
    with pytest.raises(InvalidRequest, match="plain LoRA"):
        lora.read(path)


def test_half_a_lora_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file(
        {"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, path, metadata={"ss_base_model_version": "easyphoto_bench"}
    )
    with pytest.raises(InvalidRequest, match="half"):
        lora.read(path)


@pytest.mark.parametrize(
    "broken",
    [
        {"lora_down": torch.tensor(1.0), "lora_up": torch.zeros(2, 2)},
        {"lora_down": torch.zeros(0, 2), "lora_up": torch.zeros(2, 0)},
        {"lora_down": torch.zeros(2, 2), "lora_up": torch.zeros(2, 3)},
        {"lora_down": torch.zeros(2, 2), "lora_up": torch.zeros(2, 2), "alpha": torch.zeros(2)},
    ],
    ids=["a number", "rank nothing", "halves that don't fit", "two alphas"],
)
def test_a_lora_of_impossible_shapes_is_refused(tmp_path: Path, broken: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "odd.safetensors"
    tensors = {f"lora_unet_x.{k}" if k == "alpha" else f"lora_unet_x.{k}.weight": v for k, v in broken.items()}
    save_file(tensors, path, metadata={"ss_base_model_version": "easyphoto_bench"})
    with pytest.raises(InvalidRequest, match="odd"):
        lora.read(path)


def test_a_full_disk_is_said_and_leaves_the_old_file(
    tmp_path: Path, parts: sd.Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "person.safetensors", parts)
    old = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFailed, match="No space"):
        written(path, parts, seed=9)
    assert path.read_bytes() == old


@given(st.sampled_from(["lora_unet", "lora_te"]), st.from_regex(r"[a-z]{1,5}(\.[a-z0-9]{1,5}){1,4}", fullmatch=True))
def test_kohya_names_go_through_a_file_and_back(prefix: str, path: str) -> None:
    name = strategies.lora_name(Family.SD1, prefix, path)
    assert "." not in name
    for ending, role in ((".lora_down.weight", "down"), (".lora_up.weight", "up"), (".alpha", "alpha")):
        assert lora_names.split(name + ending) == (name, role)


@pytest.mark.parametrize(
    ("diffusers", "original"),
    [
        ("down_blocks_1_attentions_0_transformer_blocks_0_attn1", "input_blocks_4_1_transformer_blocks_0_attn1"),
        ("down_blocks_2_attentions_1_proj_in", "input_blocks_8_1_proj_in"),
        ("mid_block_attentions_0_proj_out", "middle_block_1_proj_out"),
        ("mid_block_resnets_1_conv1", "middle_block_2_in_layers_2"),
        ("up_blocks_0_attentions_2_transformer_blocks_9_ff_net_2", "output_blocks_2_1_transformer_blocks_9_ff_net_2"),
        ("up_blocks_2_resnets_1_conv_shortcut", "output_blocks_7_0_skip_connection"),
        ("down_blocks_0_downsamplers_0_conv", "input_blocks_3_0_op"),
        ("up_blocks_1_upsamplers_0_conv", "output_blocks_5_2_conv"),
        ("conv_in", "input_blocks_0_0"),
    ],
)
def test_sdxl_goes_by_the_original_block_names(diffusers: str, original: str) -> None:
    assert lora_names.original_blocks(f"lora_unet_{diffusers}") == f"lora_unet_{original}"


def test_the_family_is_in_the_metadata(parts: sd.Parts) -> None:
    layers = tiny.lora_layers(parts)
    for family in (spec.family for spec in families.known()):
        made = lora.metadata(family, layers)
        assert made["ss_base_model_version"] == families.spec(family).header.written
        assert (made["ss_network_dim"], made["ss_network_alpha"]) == ("4", "2")
