"""Tests of single files in the original naming: the weights that are loaded are those that were written."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from easyphoto import sd
from easyphoto.config import Family
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.ports import Control, ControlRole, Txt2Img
from easyphoto.sd import lora, prompt_embedding, render, sampling, shapes, tokenizers
from tests import tiny, tiny_files

FAMILIES = [Family.SD1, Family.SD2, Family.SDXL]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tokens(vocabulary: Path) -> int:
    return len(json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda f: f.value)
def written(request: Any, tmp_path_factory: pytest.TempPathFactory, tokens: int) -> tuple[Family, Path, Any]:
    family: Family = request.param
    made = tiny_files.models(family, tokens)
    path = tmp_path_factory.mktemp("single") / f"{family.value}.safetensors"
    return family, tiny_files.single_file(path, family, made), made


def same(loaded: Any, made: Any) -> bool:
    ours, theirs = loaded.state_dict(), made.state_dict()
    return set(ours) == set(theirs) and all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.thorough
def test_every_part_is_what_was_written(written: tuple[Family, Path, Any], vocabulary: Path) -> None:
    family, path, made = written
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    assert parts.family is family
    assert parts.prediction == ("v_prediction" if family is Family.SD2 else "epsilon")
    assert same(parts.unet, made.unet)
    assert same(parts.vae, made.vae)
    assert parts.vae.config.scaling_factor == made.vae.config.scaling_factor
    assert len(parts.text_encoders) == len(made.texts)
    ids = torch.tensor([[parts.tokenizer.bos_token_id, 40, 41, parts.tokenizer.eos_token_id]])
    for ours, theirs in zip(parts.text_encoders, made.texts, strict=True):
        assert same(ours, theirs)
        assert torch.allclose(ours(ids).last_hidden_state, theirs(ids).last_hidden_state)
    assert parts.unet.config.attention_head_dim == made.unet.config.attention_head_dim


@pytest.mark.thorough
def test_a_picture_and_a_lora(written: tuple[Family, Path, Any], vocabulary: Path, tmp_path: Path) -> None:
    family, path, _ = written
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    job = Txt2Img(prompt="a (photo:1.2)", width=64, height=64, steps=2, seed=1)
    plain = render.txt2img(parts, job).image
    assert np.array_equal(plain, render.txt2img(parts, job).image)
    layers = tiny.lora_layers(parts, scale=0.3)
    assert any(name.startswith("lora_te2_") for name in layers) == (family is Family.SDXL)
    file = tmp_path / "l.safetensors"
    lora.write(file, layers, lora.metadata(family, layers))
    read = lora.read(file)
    assert read.info.family is family
    with lora.applied(parts, [(read.layers, 1.0)]):
        assert not np.array_equal(render.txt2img(parts, job).image, plain)
    assert np.array_equal(render.txt2img(parts, job).image, plain)


@pytest.mark.thorough
def test_sdxl_heeds_size_and_empty_negative(tmp_path: Path, vocabulary: Path, tokens: int) -> None:
    path = tiny_files.single_file(tmp_path / "xl.safetensors", Family.SDXL, tiny_files.models(Family.SDXL, tokens))
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    positive, negative = prompt_embedding.encode(parts, "a photo", "")
    assert positive.context.shape == (1, 77, 768 + 1280)
    assert positive.pooled is not None
    assert positive.pooled.shape == (1, 1280)
    assert not negative.context.any()
    run = sampling.Sampling.prepare(parts, Txt2Img(prompt="a", width=64, height=128, steps=1, seed=1), {}, soft=True)
    assert run.added is not None
    assert run.added["time_ids"].tolist() == [[128, 64, 0, 0, 128, 64]] * 2


@pytest.mark.thorough
def test_an_sdxl_lora_opens_with_diffusers_and_predicts_the_same(tmp_path: Path, vocabulary: Path, tokens: int) -> None:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    made = tiny_files.models(Family.SDXL, tokens)
    path = tiny_files.single_file(tmp_path / "xl.safetensors", Family.SDXL, made)
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    layers = tiny.lora_layers(parts, scale=0.3)
    lora.write(tmp_path / "l.safetensors", layers, lora.metadata(Family.SDXL, layers), dtype=torch.float32)
    pipeline = StableDiffusionXLPipeline(
        made.vae,
        *made.texts,
        *parts.tokenizers,
        made.unet,
        DDIMScheduler(steps_offset=1, clip_sample=False),
        add_watermarker=False,
    )
    pipeline.load_lora_weights(tmp_path, weight_name="l.safetensors")

    def predict(unet: Any, texts: Any) -> torch.Tensor:
        ids = torch.tensor([[40, 41, tokens - 1]])
        with torch.no_grad():
            first, second = (text(ids, output_hidden_states=True).hidden_states[-2] for text in texts)
            context = torch.cat([first, second], dim=-1)
            added = {"text_embeds": torch.ones(1, 1280), "time_ids": torch.full((1, 6), 64.0)}
            x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
            return torch.as_tensor(unet(x, 500, encoder_hidden_states=context, added_cond_kwargs=added).sample)

    bare = predict(parts.unet, parts.text_encoders)
    with lora.applied(parts, [(layers, 1.0)]):
        ours = predict(parts.unet, parts.text_encoders)
    theirs = predict(pipeline.unet, (pipeline.text_encoder, pipeline.text_encoder_2))
    assert (ours - bare).abs().max() > 0.01
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("pickled", [False, True])
def test_a_controlnet(tmp_path: Path, pickled: bool) -> None:
    path = tmp_path / ("c.pth" if pickled else "c.safetensors")
    made = tiny_files.controlnet_file(path, pickled=pickled)
    loaded = sd.load_controlnet(path, device="cpu", dtype=torch.float32)
    assert same(loaded, made)
    save_file({k: v.contiguous() for k, v in made.state_dict().items()}, tmp_path / "d.safetensors")
    assert same(sd.load_controlnet(tmp_path / "d.safetensors", device="cpu", dtype=torch.float32), made)


def test_a_controlnet_in_diffusers_naming_needs_no_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of diffusers 0.31, which hosts with an old torch get, gives back nothing of it."""
    from diffusers.loaders import single_file_utils

    made = tiny_files.controlnet_file(tmp_path / "original.safetensors")
    save_file({k: v.contiguous() for k, v in made.state_dict().items()}, tmp_path / "d.safetensors")
    monkeypatch.setattr(single_file_utils, "convert_controlnet_checkpoint", lambda state, config: {})
    assert same(sd.load_controlnet(tmp_path / "d.safetensors", device="cpu", dtype=torch.float32), made)


@pytest.mark.thorough
def test_a_controlnet_from_a_file_controls(tmp_path: Path, vocabulary: Path, tokens: int) -> None:
    path = tiny_files.single_file(tmp_path / "1.safetensors", Family.SD1, tiny_files.models(Family.SD1, tokens))
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    tiny_files.controlnet_file(tmp_path / "c.safetensors")
    nets = {ControlRole.CANNY: sd.load_controlnet(tmp_path / "c.safetensors", device="cpu", dtype=torch.float32)}
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    job = Txt2Img(prompt="a", width=64, height=64, steps=2, seed=1)
    controlled = replace(job, controls=[Control(ControlRole.CANNY, image, 1, is_map=True)])
    assert not np.array_equal(render.txt2img(parts, job).image, render.txt2img(parts, controlled, nets).image)


@pytest.mark.thorough
def test_an_sdxl_controlnet_of_less_depth_than_its_unet(tmp_path: Path, vocabulary: Path, tokens: int) -> None:
    """The published "mid" and "small" ones, in diffusers' naming, attend in fewer blocks."""
    from diffusers import ControlNetModel

    config = {k: v for k, v in tiny_files.unet_config(Family.SDXL).items() if k != "up_block_types"}
    config["down_block_types"] = ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D")
    config["transformer_layers_per_block"] = (1, 1, 1)
    made = ControlNetModel(**config)
    torch.nn.init.normal_(made.controlnet_mid_block.weight)
    save_file(made.state_dict(), tmp_path / "diffusers_xl_canny_mid.safetensors")
    loaded = sd.load_controlnet(tmp_path / "diffusers_xl_canny_mid.safetensors", device="cpu", dtype=torch.float32)
    assert same(loaded, made)
    path = tiny_files.single_file(tmp_path / "xl.safetensors", Family.SDXL, tiny_files.models(Family.SDXL, tokens))
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    image = np.zeros((64, 64, 3), np.uint8)
    job = Txt2Img(prompt="a", width=64, height=64, steps=2, seed=1)
    controlled = replace(job, controls=[Control(ControlRole.CANNY, image, 1, is_map=True)])
    plain = render.txt2img(parts, job).image
    assert not np.array_equal(plain, render.txt2img(parts, controlled, {ControlRole.CANNY: loaded}).image)


def test_a_pickle_that_runs_code_is_refused_and_doesnt_run_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    for load in (sd.load_controlnet, lambda p, device, dtype: sd.load_vae(p, device=device)):
        with pytest.raises(InvalidRequest, match=r"evil\.pth.*safetensors"):
            load(path, device="cpu", dtype=torch.float32)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("diffusers_names", [False, True])
def test_a_vae(tmp_path: Path, tokens: int, diffusers_names: bool) -> None:
    made = tiny_files.models(Family.SD1, tokens).vae
    state = made.state_dict() if diffusers_names else tiny_files.original_vae(made.state_dict())
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "v.safetensors")
    assert same(sd.load_vae(tmp_path / "v.safetensors", device="cpu"), made)
    other = sd.load_vae(tmp_path / "v.safetensors", device="cpu", family=Family.SDXL)
    assert other.config.scaling_factor == 0.13025


def test_an_incomplete_file_says_what_is_missing(tmp_path: Path, vocabulary: Path, tokens: int) -> None:
    path = tiny_files.single_file(tmp_path / "half.safetensors", Family.SD1, tiny_files.models(Family.SD1, tokens))
    state = load_file(path)
    del state["model.diffusion_model.middle_block.0.in_layers.0.weight"]
    save_file(state, path)
    with pytest.raises(InvalidRequest, match=r"half\.safetensors is incomplete: 1 weights"):
        sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    save_file({k: v for k, v in state.items() if not k.startswith("cond_stage")}, path)
    with pytest.raises(InvalidRequest, match="no text encoder"):
        sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])


def test_without_a_tokenizer_it_says_what_to_do(tmp_path: Path, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "_PACKAGES", ())
    path = tiny_files.single_file(tmp_path / "1.safetensors", Family.SD1, tiny_files.models(Family.SD1, tokens))
    with pytest.raises(AssetMissing, match=r"vocab\.json and merges\.txt"):
        sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[tmp_path])


def test_the_tokenizer_of_an_installed_package(tmp_path: Path, vocabulary: Path, tokens: int) -> None:
    """A package carries CLIP's merges alone; vocabulary and ids follow from them."""
    import gzip

    merges = (vocabulary / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    packed = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    packed.write_bytes(gzip.compress("\n".join(["head", *merges]).encode()))
    made = tokenizers._unpacked(packed, 2 * 256 + len([m for m in merges if m]) + 2, True)
    assert made.tokenize("a Photo of hair!") == ["a</w>", "photo</w>", "o", "f</w>", "hair</w>", "!</w>"]
    assert made.convert_tokens_to_ids(["!", "!</w>", "<|endoftext|>"]) == [0, 256, len(made) - 1]
    assert (made.pad_token_id, made.model_max_length) == (0, 77)


@pytest.mark.thorough
def test_the_published_designs_are_read_from_their_shapes() -> None:
    """SD1's, SD2's and SDXL's published UNets, made without memory."""
    from diffusers import UNet2DConditionModel

    published: dict[str, dict[str, Any]] = {
        "sd1": {"attention_head_dim": 8, "cross_attention_dim": 768},
        "sd2": {"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True},
        "sdxl": {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "cross_attention_dim": 2048,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    }
    for config in published.values():
        with torch.device("meta"):
            model = UNet2DConditionModel(**config)
            original = tiny_files.original_unet(model.state_dict())
            derived = shapes.unet({k: tuple(v.shape) for k, v in original.items()})
            again = UNet2DConditionModel(**derived)
        assert {k: v.shape for k, v in model.state_dict().items()} == {
            k: v.shape for k, v in again.state_dict().items()
        }
        assert model.config.attention_head_dim == again.config.attention_head_dim


@pytest.mark.thorough
@pytest.mark.parametrize(
    "place",
    [
        "models/tokenizer",
        "models/Stable-diffusion/some model/tokenizer",
        "backend/huggingface/runwayml/stable-diffusion-v1-5/tokenizer",
        "cache/hub/models--openai--clip-vit-large-patch14/snapshots/0123abc",
    ],
)
def test_a_tokenizer_is_found_wherever_a_host_may_have_it(
    place: str, written: tuple[Family, Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(tokenizers, "_PACKAGES", ())
    folders = tokenizers.folders(tmp_path / "models", tmp_path / "elsewhere" / "model.safetensors")
    with pytest.raises(AssetMissing, match=r"models/tokenizer") as caught:
        tokenizers.require(written[1], folders)
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "models" / "tokenizer").mkdir(parents=True, exist_ok=True)
    (tmp_path / "models" / "tokenizer" / "vocab.json").write_text("broken")
    (tmp_path / "models" / "tokenizer" / "merges.txt").write_text("")
    tiny.tokenizer(tmp_path / place)
    tokenizers.require(written[1], folders)
    assert sd.load(written[1], device="cpu", dtype=torch.float32, tokenizers=folders).tokenizers


@pytest.mark.thorough
def test_a_checkpoint_without_vae_says_so(written: tuple[Family, Path, Any], tmp_path: Path, vocabulary: Path) -> None:
    bare = {k: v for k, v in load_file(written[1]).items() if not k.startswith("first_stage_model.")}
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(InvalidRequest, match=r"bare\.safetensors has no VAE inside"):
        sd.load(tmp_path / "bare.safetensors", device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    own = {k.removeprefix("first_stage_model."): v for k, v in load_file(written[1]).items() if "first_stage" in k}
    save_file(own, tmp_path / "vae.safetensors")
    path, vae = tmp_path / "bare.safetensors", tmp_path / "vae.safetensors"
    assert sd.load(path, device="cpu", dtype=torch.float32, vae=vae, tokenizers=[vocabulary]).vae is not None
