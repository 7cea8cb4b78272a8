"""Adapters on the embedded host: tiny random ones in the published layouts, against diffusers' own pipeline and through
the host."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pil
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from easyphoto import sd
from easyphoto.catalog import Catalog, Folders
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.hosts.embedded import EmbeddedHost, adapters, library
from easyphoto.ports import Identity, IdentityKind, Image, Img2Img, Txt2Img
from easyphoto.sd import adapter, shapes
from tests import tiny, tiny_adapters
from tests.fakes import FakeVision, blank, draw_face

SIDE = 64
FACE_ID, PLUS_FACE = IdentityKind.FACE_ID, IdentityKind.IP_ADAPTER_FACE
EMBEDDER = "fake-embedder"


@pytest.fixture
def face() -> Image:
    return draw_face(blank(SIDE, SIDE), (32, 30), 24)


@pytest.fixture
def who(face: Image) -> Identity:
    return Identity(FACE_ID, (face,), np.array([0.6, 0.8], np.float32), EMBEDDER)


@pytest.fixture
def own(paths: Paths, tmp_path: Path, bench_parts: sd.Parts) -> EmbeddedHost:
    """A host whose shipped checkpoint has an adapter."""
    bench = tiny.folder(tmp_path / "with adapter" / "bench")
    tiny_adapters.write(bench / "adapter" / library.SHIPPED_ADAPTER, bench_parts.unet, "faceid", embedder=EMBEDDER)
    return EmbeddedHost(replace(paths, bench=bench), FakeVision(), device="cpu", dtype=torch.float32)


@pytest.fixture
def sd1(paths: Paths) -> Path:
    return tiny.folder(paths.models / "Stable-diffusion" / "mine", width=768)


def job(**more: object) -> Txt2Img:
    return Txt2Img(**{"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 2, "seed": 3, **more})  # type: ignore[arg-type]


@pytest.mark.thorough
@pytest.mark.parametrize("layout", ["plain", "full", "plus", "faceid"])
def test_a_published_layout_acts_as_in_diffusers_own_pipeline(layout: str, tmp_path: Path, face: Image) -> None:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPImageProcessor

    folder, eyes = tiny.folder(tmp_path / "base"), tiny_adapters.image_encoder(tmp_path / "eyes")
    parts = sd.load(folder, device="cpu", dtype=torch.float32)
    path = tiny_adapters.write(tmp_path / "adapter.safetensors", parts.unet, layout, embedder=EMBEDDER)
    encoder = adapters.ImageEncoder(eyes, torch.float32)

    def see(picture: Image, patches: bool) -> adapters.Seen:
        return encoder.see(face, patches=patches, device=torch.device("cpu"))  # the pipeline gets this picture as well

    identity = Identity(FACE_ID, (face,), np.array([0.6, 0.8], np.float32), EMBEDDER, 0.7)
    cue = adapters.cue(identity, adapter.read(path), FakeVision(), see)
    random = torch.Generator().manual_seed(1)
    latents, text = torch.randn(2, 4, 8, 8, generator=random), torch.randn(2, 7, 128, generator=random)
    time = torch.tensor(500)
    with torch.no_grad():
        before = parts.unet(latents, time, encoder_hidden_states=text).sample
        with adapter.worn(parts.unet, [cue]):
            told = {"image_embeds": [cue.sides(True)]}
            mine = parts.unet(latents, time, encoder_hidden_states=text, added_cond_kwargs=told).sample
        after = parts.unet(latents, time, encoder_hidden_states=text).sample
    assert torch.equal(before, after), "the UNet is as it was"

    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.register_modules(
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(eyes),
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    )
    pipe.load_ip_adapter(tmp_path, subfolder="", weight_name=path.name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.7)
    with torch.no_grad():
        if layout == "faceid":
            vector = torch.tensor([[[0.6, 0.8]]])
            embeds = [torch.cat([torch.zeros_like(vector), vector])]
        else:
            embeds = pipe.prepare_ip_adapter_image_embeds([Pil.fromarray(face)], None, "cpu", 1, True)
        theirs = pipe.unet(latents, time, encoder_hidden_states=text, added_cond_kwargs={"image_embeds": embeds}).sample
    assert (mine - before).abs().max() > 1e-2
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.thorough
def test_several_pictures_act_as_in_diffusers_own_pipeline(tmp_path: Path, face: Image) -> None:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPImageProcessor

    folder, eyes = tiny.folder(tmp_path / "base"), tiny_adapters.image_encoder(tmp_path / "eyes")
    parts = sd.load(folder, device="cpu", dtype=torch.float32)
    path = tiny_adapters.write(tmp_path / "adapter.safetensors", parts.unet, "plus")
    encoder, shown = adapters.ImageEncoder(eyes, torch.float32), [face, np.ascontiguousarray(255 - face)]
    left = iter(shown)

    def see(picture: Image, patches: bool) -> adapters.Seen:
        return encoder.see(next(left), patches=patches, device=torch.device("cpu"))

    cue = adapters.cue(
        Identity(PLUS_FACE, (face, face), np.zeros(2, np.float32), EMBEDDER), adapter.read(path), FakeVision(), see
    )
    random = torch.Generator().manual_seed(1)
    latents, text = torch.randn(2, 4, 8, 8, generator=random), torch.randn(2, 7, 128, generator=random)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.register_modules(
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(eyes),
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    )
    pipe.load_ip_adapter(tmp_path, subfolder="", weight_name=path.name, image_encoder_folder=None)
    with torch.no_grad():
        with adapter.worn(parts.unet, [cue]):
            told = {"image_embeds": [cue.sides(True)]}
            mine = parts.unet(latents, 500, encoder_hidden_states=text, added_cond_kwargs=told).sample
        embeds = pipe.prepare_ip_adapter_image_embeds([[Pil.fromarray(one) for one in shown]], None, "cpu", 1, True)
        theirs = pipe.unet(latents, 500, encoder_hidden_states=text, added_cond_kwargs={"image_embeds": embeds}).sample
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_a_picture_follows_the_person_and_the_next_one_is_as_before(own: EmbeddedHost, who: Identity) -> None:
    assert own.identities(Family.BENCH) == {FACE_ID: 1} and own.identities(Family.SD1) == {}
    plain = own.txt2img(job()).image
    mine = own.txt2img(job(identities=[who])).image
    other = replace(who, embedding=np.array([-0.8, 0.6], np.float32))
    assert not np.array_equal(mine, plain)
    assert not np.array_equal(mine, own.txt2img(job(identities=[other])).image)
    assert not np.array_equal(mine, own.txt2img(job(identities=[replace(who, weight=0.3)])).image)
    assert np.array_equal(mine, own.txt2img(job(identities=[who])).image)
    assert np.array_equal(plain, own.txt2img(job()).image)
    assert np.array_equal(plain, own.txt2img(job(identities=[replace(who, weight=0.0)])).image)


def test_it_works_under_a_mask_and_without_guidance(own: EmbeddedHost, who: Identity, face: Image) -> None:
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[20:40, 20:44] = 1
    common = {"image": face, "denoising_strength": 0.6, "mask": mask, "mask_blur": 0, "cfg_scale": 1.0}
    asked = Img2Img(prompt="", width=SIDE, height=SIDE, steps=4, seed=1, **common)  # type: ignore[arg-type]
    plain, mine = own.img2img(asked).image, own.img2img(replace(asked, identities=[who])).image
    assert np.array_equal(mine[mask == 0], face[mask == 0]) and not np.array_equal(mine, plain)


def test_a_vector_of_another_embedder_is_measured_again(own: EmbeddedHost, who: Identity, face: Image) -> None:
    vision = FakeVision()
    measured = vision.embedder.embed(face, vision.detector.detect(face)[0])
    foreign = replace(who, embedding=np.ones(512, np.float32), embedder="insightface")
    expected = own.txt2img(job(identities=[replace(who, embedding=measured)])).image
    assert np.array_equal(own.txt2img(job(identities=[foreign])).image, expected)


def test_pictures_are_shown_to_clip_where_its_encoder_is_there(
    host: EmbeddedHost, paths: Paths, sd1: Path, who: Identity
) -> None:
    unet = sd.load(sd1, device="cpu", dtype=torch.float32).unet
    tiny_adapters.write(paths.models / "ControlNet" / "ip-adapter-plus-face_sd15.safetensors", unet, "plus")
    assert host.identities(Family.SD1) == {}
    shown = replace(who, kind=PLUS_FACE)
    with pytest.raises(AssetMissing, match="no adapter for ip-adapter-face"):
        host.txt2img(job(checkpoint="mine", identities=[shown]))
    tiny_adapters.image_encoder(paths.models / library.IMAGE_ENCODER)
    assert host.identities(Family.SD1) == {PLUS_FACE: 1}
    plain = host.txt2img(job(checkpoint="mine")).image
    mine = host.txt2img(job(checkpoint="mine", identities=[shown])).image
    turned = replace(shown, pictures=(np.ascontiguousarray(255 - shown.pictures[0]),))
    assert not np.array_equal(mine, plain)
    assert not np.array_equal(mine, host.txt2img(job(checkpoint="mine", identities=[turned])).image)


def test_the_image_encoder_is_taken_from_its_file_of_weights(
    host: EmbeddedHost, paths: Paths, sd1: Path, who: Identity
) -> None:
    unet = sd.load(sd1, device="cpu", dtype=torch.float32).unet
    tiny_adapters.write(paths.models / "ControlNet" / "ip-adapter-plus-face_sd15.safetensors", unet, "plus")
    asked = job(checkpoint="mine", identities=[replace(who, kind=PLUS_FACE)])
    folder = tiny_adapters.image_encoder(paths.models / library.IMAGE_ENCODER, heads=1)
    from_folder = host.txt2img(asked).image
    fetched = Catalog.load().assets["clip-vit-h"]
    file = Folders.under(paths.models).destinations[fetched.folder] / fetched.file
    file.parent.mkdir()
    (folder / "model.safetensors").rename(file)
    shutil.rmtree(folder)
    assert host.identities(Family.SD1) == {PLUS_FACE: 1}
    assert np.array_equal(host.txt2img(asked).image, from_folder)
    state = load_file(file)
    save_file({name: tensor for name, tensor in state.items() if "post_layernorm" not in name}, file)
    with pytest.raises(InvalidRequest, match=r"CLIP-ViT-H.* is incomplete: 2 weights are missing"):
        host.txt2img(asked)
    save_file({"some.weight": torch.zeros(2)}, file)
    with pytest.raises(InvalidRequest, match=r"CLIP-ViT-H.* isn't known"):
        host.txt2img(asked)


@pytest.mark.parametrize(
    ("width", "depth", "heads", "act"),
    [(768, 12, 12, "quick_gelu"), (1024, 24, 16, "quick_gelu"), (1280, 32, 16, "gelu")],
)
def test_published_image_encoders_are_known_by_their_shapes(width: int, depth: int, heads: int, act: str) -> None:
    """CLIP's ViT-B/32 and ViT-L/14 of OpenAI, and OpenCLIP's ViT-H/14."""
    patch, vector = (32, 512) if width == 768 else (14, 768 if width == 1024 else 1024)
    wanted = {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth, "num_attention_heads": heads,
        "hidden_act": act, "image_size": 224, "patch_size": patch, "projection_dim": vector,
    }  # fmt: skip
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(**wanted))
    assert shapes.clip_vision({name: tuple(t.shape) for name, t in model.state_dict().items()}) == wanted


def test_an_adapter_of_another_family_or_a_damaged_one_is_one_sentence(
    host: EmbeddedHost, paths: Paths, sd1: Path, who: Identity, bench_parts: sd.Parts
) -> None:
    tiny_adapters.image_encoder(paths.models / library.IMAGE_ENCODER)
    path = paths.models / "ControlNet" / "ip-adapter-plus-face_sd15.safetensors"
    asked = job(checkpoint="mine", identities=[replace(who, kind=PLUS_FACE)])
    plain = host.txt2img(job(checkpoint="mine")).image
    tiny_adapters.write(path, bench_parts.unet, "plus")
    with pytest.raises(InvalidRequest, match="another family of models"):
        host.txt2img(asked)
    unet = sd.load(sd1, device="cpu", dtype=torch.float32).unet
    state = load_file(tiny_adapters.write(path, unet, "plus"))
    for name, value in (("image_proj.layers.2.0.to_q.weight", torch.zeros(64, 7)), ("image_proj.proj_out.bias", None)):
        broken = {k: v for k, v in state.items() if k != name}
        save_file(broken if value is None else {**broken, name: value}, path)
        with pytest.raises(InvalidRequest, match="is damaged"):
            host.txt2img(asked)
        assert np.array_equal(plain, host.txt2img(job(checkpoint="mine")).image), "nothing of it is left on"
    save_file({**state, "image_proj.latents": torch.full_like(state["image_proj.latents"], torch.nan)}, path)
    with pytest.raises(InvalidRequest, match="is damaged"):
        host.txt2img(asked)
    path.write_bytes(b"no adapter")
    with pytest.raises(InvalidRequest, match="ip-adapter-plus-face_sd15"):
        host.txt2img(asked)
