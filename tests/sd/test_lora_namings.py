"""Tests that a LoRA in another program's naming does what the same LoRA does in kohya's, on models of each family's
shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from easyphoto import checkpoint, sd
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.sd import lora, strategies
from tests import tiny, tiny_files

Layers = Mapping[str, lora.LoraLayer]
Write = Callable[[str, lora.LoraLayer], dict[str, torch.Tensor]]


def without_alpha(module: str, layer: lora.LoraLayer, down: str, up: str) -> dict[str, torch.Tensor]:
    """For namings without alpha: the scale goes into the matrix."""
    return {f"{module}{down}": layer.down, f"{module}{up}": layer.up * (layer.alpha / layer.rank)}


def peft(module: str, layer: lora.LoraLayer) -> dict[str, torch.Tensor]:
    return without_alpha(module, layer, ".lora_A.weight", ".lora_B.weight")


def kohya(module: str, layer: lora.LoraLayer) -> dict[str, torch.Tensor]:
    alpha = torch.tensor(layer.alpha)
    return {f"{module}.lora_down.weight": layer.down, f"{module}.lora_up.weight": layer.up, f"{module}.alpha": alpha}


def dotted_original(path: str) -> str:
    """A module of a UNet, with dots, by the original's names."""
    name = tiny_files._original(f"{path}.weight")
    return name.rpartition(".")[0]


UNET_AND_TEXT: Mapping[str, tuple[Callable[[str, str], str], Write]] = {
    "kohya's scripts with diffusers' blocks": (lambda part, path: f"{KOHYA[part]}{path.replace('.', '_')}", kohya),
    "diffusers": (lambda part, path: f"{part}.{path}", peft),
    "diffusers, an adapter of a name": (
        lambda part, path: f"{part}.{path}",
        lambda m, layer: without_alpha(m, layer, ".lora_A.her.weight", ".lora_B.her.weight"),
    ),
    "diffusers, older": (
        lambda part, path: f"{part}.{path}",
        lambda m, layer: without_alpha(m, layer, ".lora.down.weight", ".lora.up.weight"),
    ),
    "diffusers by PEFT": (lambda part, path: f"{part}.base_model.model.{path}", peft),
    "PEFT around all": (lambda part, path: f"base_model.model.{part}.{path}", peft),
    "PEFT alone": (lambda part, path: f"base_model.model.{path}", peft),
    "ComfyUI": (
        lambda part, path: (
            f"diffusion_model.{dotted_original(path)}" if part == "unet" else f"text_encoders.{CLIP[part]}.{path}"
        ),
        peft,
    ),
    "original blocks with underscores": (
        lambda part, path: (
            f"lora_unet_{dotted_original(path).replace('.', '_')}"
            if part == "unet"
            else f"{KOHYA[part]}{path.replace('.', '_')}"
        ),
        kohya,
    ),
}
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
CLIP = {"text_encoder": "clip_l.transformer", "text_encoder_2": "clip_g.transformer"}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=[Family.SD1, Family.SD2, Family.SDXL], ids=lambda f: f.value)
def model(request: Any, tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> sd.Parts:
    tokens = len(json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8")))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    tiny_files.single_file(path, request.param, tiny_files.models(request.param, tokens))
    return sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])


def some_modules(parts: sd.Parts, *, text: bool = True) -> dict[tuple[str, str], torch.nn.Module]:
    """(part, dotted path) -> module: attention, feed-forward and a residual net's convolution of UNet and encoders."""
    wanted = re.compile(r"(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.2|resnets\.0\.conv1|self_attn\.(q|out)_proj|fc1)$")
    models = {"unet": parts.unet}
    if text:
        models |= dict(zip(("text_encoder", "text_encoder_2"), parts.text_encoders, strict=False))
    return {
        (part, path): module
        for part, own in models.items()
        for path, module in own.named_modules()
        if wanted.search(path)
    }


def random_layers(parts: sd.Parts, **more: bool) -> dict[tuple[str, str], lora.LoraLayer]:
    random = torch.Generator().manual_seed(1)
    layers = {}
    for at, module in some_modules(parts, **more).items():
        weight: Any = module.weight
        kernel = weight.shape[2:]
        down = torch.randn((4, weight.shape[1], *kernel), generator=random)
        up = torch.randn((weight.shape[0], 4, *(1 for _ in kernel)), generator=random)
        layers[at] = lora.LoraLayer(down * 0.1, up * 0.1, 2.0)
    return layers


def effect(parts: sd.Parts, path: Path) -> dict[str, torch.Tensor]:
    """The change of every weight that the file's LoRA changes."""
    before = {n: m.weight.detach().clone() for n, m in lora.modules(parts).items()}  # type: ignore[operator, union-attr]
    layers = lora.read(path).layers
    assert set(layers) <= set(before), "every module of the file is one of the model's"
    with lora.applied(parts, [(layers, 0.7)]):
        after = {n: m.weight.detach().clone() for n, m in lora.modules(parts).items()}  # type: ignore[operator, union-attr]
    return {n: after[n] - before[n] for n in before if not torch.equal(after[n], before[n])}


@pytest.mark.thorough
@pytest.mark.parametrize("naming", UNET_AND_TEXT)
def test_it_does_what_the_same_lora_does_in_kohyas_naming(naming: str, model: sd.Parts, tmp_path: Path) -> None:
    text = naming != "PEFT alone" or model.family is not Family.SDXL
    made = random_layers(model, text=text)
    name, write = UNET_AND_TEXT[naming]
    tensors: dict[str, torch.Tensor] = {}
    for (part, path), layer in made.items():
        tensors |= write(name(part, path), layer)
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    # Metadata of another family is not believed against the shapes.
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, theirs, metadata={"ss_base_model_version": "easyphoto_bench"}
    )
    prefix = {"unet": "lora_unet", "text_encoder_2": "lora_te2"}
    first = "lora_te1" if model.family is Family.SDXL else "lora_te"
    twin = {strategies.lora_name(model.family, prefix.get(part, first), path): v for (part, path), v in made.items()}
    lora.write(ours, twin, lora.metadata(model.family, twin), torch.float32)
    assert checkpoint.inspect(theirs).family is model.family
    expected, found = effect(model, ours), effect(model, theirs)
    assert len(expected) == len(made)
    assert found.keys() == expected.keys()
    for module, change in expected.items():
        torch.testing.assert_close(found[module], change, atol=1e-5, rtol=1e-4)


def test_attention_processors_of_2023(model: sd.Parts, tmp_path: Path) -> None:
    made = {at: v for at, v in random_layers(model, text=False).items() if "attn" in at[1]}
    tensors: dict[str, torch.Tensor] = {}
    for (_, path), layer in made.items():
        attention, _, which = path.removesuffix(".0").rpartition(".")
        tensors |= without_alpha(f"{attention}.processor.{which}", layer, "_lora.down.weight", "_lora.up.weight")
    file, twin = tmp_path / "old.safetensors", {}
    save_file(tensors, file)
    twin = {strategies.lora_name(model.family, "lora_unet", path): layer for (_, path), layer in made.items()}
    read = lora.read(file)
    assert read.info.family is model.family
    assert read.layers.keys() == twin.keys()
    for name, layer in twin.items():
        torch.testing.assert_close(read.layers[name].delta(), layer.delta())


def test_alphas_that_diffusers_and_peft_write_elsewhere(model: sd.Parts, tmp_path: Path) -> None:
    made = random_layers(model, text=False)
    tensors: dict[str, torch.Tensor] = {}
    for (_, path), layer in made.items():
        tensors |= {f"unet.{path}.lora_A.weight": layer.down, f"unet.{path}.lora_B.weight": layer.up}
    settings = {"unet.r": 4, "unet.lora_alpha": 2, "unet.alpha_pattern": {"attn2.to_k": 8}}
    save_file(tensors, tmp_path / "d.safetensors", metadata={"lora_adapter_metadata": json.dumps(settings)})
    told = {name: layer.alpha for name, layer in lora.read(tmp_path / "d.safetensors").layers.items()}
    assert {alpha for name, alpha in told.items() if name.endswith("attn2_to_k")} == {8.0}
    assert {alpha for name, alpha in told.items() if not name.endswith("attn2_to_k")} == {2.0}
    bare = {f"base_model.model.{k.removeprefix('unet.')}": v for k, v in tensors.items()}
    save_file(bare, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 16, "r": 4, "use_rslora": true}')
    assert {v.alpha for v in lora.read(tmp_path / "adapter_model.safetensors").layers.values()} == {32.0}
    (tmp_path / "adapter_config.json").write_text("no JSON")
    assert {v.alpha for v in lora.read(tmp_path / "adapter_model.safetensors").layers.values()} == {4.0}


def test_peft_itself_and_this_agree_on_a_dora(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model_state_dict

    parts = sd.load(tiny.folder(tmp_path / "model"), device="cpu", dtype=torch.float32)
    other = sd.load(tmp_path / "model", device="cpu", dtype=torch.float32)
    parts.unet.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_k"], use_dora=True))
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in parts.unet.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.3)
            if "magnitude" in name:
                parameter.mul_(1.5)
    state = {f"unet.{k}": v.contiguous() for k, v in get_peft_model_state_dict(parts.unet).items()}
    path = tmp_path / "dora.safetensors"
    save_file(state, path, metadata={"lora_adapter_metadata": '{"unet.lora_alpha": 2}'})
    x, context = torch.randn((1, 4, 8, 8), generator=random), torch.randn((1, 77, tiny.WIDTH), generator=random)
    with torch.no_grad():
        bare = other.unet(x, 500, encoder_hidden_states=context).sample
        theirs = parts.unet(x, 500, encoder_hidden_states=context).sample
        with lora.applied(other, [(lora.read(path).layers, 1.0)]):
            ours = other.unet(x, 500, encoder_hidden_states=context).sample
    assert (theirs - bare).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_a_magnitude_by_column_leaves_columns_of_that_length() -> None:
    weight, layer = torch.randn(5, 6), lora.LoraLayer(torch.randn(2, 6), torch.randn(5, 2), 2.0)
    wanted = torch.rand(1, 6) + 0.5
    changed = weight + replace(layer, magnitude=wanted).change(weight)
    torch.testing.assert_close(changed.norm(dim=0, keepdim=True), wanted)
    torch.testing.assert_close(layer.change(weight), layer.delta())


KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


def saved(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    save_file(tensors, path, metadata=metadata or None)
    return path


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ({"hada_w1_a": (8, 2), "hada_w1_b": (2, 2048), "hada_w2_a": (8, 2), "hada_w2_b": (2, 2048)}, "LyCORIS LoHa"),
        ({"lokr_w1": (4, 32), "lokr_w2": (2, 64)}, "LyCORIS LoKr"),
        ({"lokr_w1": (4, 32), "lokr_w2_a": (2, 2), "lokr_w2_b": (2, 64)}, "LyCORIS LoKr"),
    ],
)
def test_lycoris_is_named_and_its_family_known(tmp_path: Path, marks: dict[str, tuple[int, ...]], words: str) -> None:
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    path = saved(tmp_path / "l.safetensors", {f"{name}.{mark}": torch.zeros(shape) for mark, shape in marks.items()})
    assert checkpoint.inspect(path).family is Family.SDXL
    with pytest.raises(InvalidRequest, match=words):
        lora.read(path)


@pytest.mark.parametrize("width", [32, 64, 320, 640, 1152, 3072])
def test_a_width_of_no_known_model_is_no_family(tmp_path: Path, width: int) -> None:
    tensors = {f"{KEY}.lora_A.weight": torch.zeros(2, width), f"{KEY}.lora_B.weight": torch.zeros(8, 2)}
    for metadata in ({}, {"ss_base_model_version": "easyphoto_bench"}, {"ss_base_model_version": "sd_v1"}):
        with pytest.raises(InvalidRequest, match=f"width {width}"):
            checkpoint.inspect(saved(tmp_path / "w.safetensors", tensors, **metadata))


@pytest.mark.parametrize(
    ("key", "metadata", "family"),
    [
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", {}, Family.SDXL),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", {}, Family.SD1),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
         {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, Family.SDXL),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
         {"ss_base_model_version": "sd_v2"}, Family.SD1),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", {}, Family.SD1),
        ("unet.down_blocks.2.attentions.0.transformer_blocks.9.attn1.to_q.lora_A.weight", {}, Family.SDXL),
    ],
)  # fmt: skip
def test_without_cross_attention_other_shapes_and_names_tell(
    tmp_path: Path, key: str, metadata: dict[str, str], family: Family
) -> None:
    tensors = {key: torch.zeros(2, 768)}
    assert checkpoint.inspect(saved(tmp_path / "t.safetensors", tensors, **metadata)).family is family


@pytest.mark.parametrize(
    "key",
    [
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
        "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight",
        "base_model.model.transformer_blocks.0.attn2.to_k.lora_A.weight",
        "diffusion_model.blocks.0.cross_attn.k.lora_A.weight",
    ],
)
@pytest.mark.parametrize("metadata", [{}, {"ss_base_model_version": "sd_v1"}])
def test_a_lora_for_a_model_of_another_kind(tmp_path: Path, key: str, metadata: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="another kind of model"):
        checkpoint.inspect(saved(tmp_path / "f.safetensors", {key: torch.zeros(2, 3072)}, **metadata))


def test_a_lora_of_nan_is_named_and_not_the_vae(tmp_path: Path) -> None:
    tensors = {f"{KEY}.lora_A.weight": torch.full((2, 128), float("nan")), f"{KEY}.lora_B.weight": torch.zeros(64, 2)}
    with pytest.raises(InvalidRequest, match=r"nan\.safetensors is broken.*NaN"):
        lora.read(saved(tmp_path / "nan.safetensors", tensors))
