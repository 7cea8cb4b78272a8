"""FaceID and FaceID-plus on the embedded host: tiny random files in the published layouts, a LoRA inside, against
diffusers' own pipeline and through the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image as Pil
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from easyphoto import sd
from easyphoto.config import ID_METHODS, Family, Paths, PortraitConfig
from easyphoto.errors import AssetMissing, InvalidRequest, VisionFailed
from easyphoto.families import spec
from easyphoto.hosts.embedded import EmbeddedHost, adapters, library
from easyphoto.inference import plan
from easyphoto.ports import Identity, IdentityKind, Image, Txt2Img, Vision
from easyphoto.sd import adapter
from tests import tiny, tiny_adapters, tiny_files
from tests.fakes import FakeVision, blank, draw_face

SIDE = 64
FACE_ID = IdentityKind.FACE_ID
PIPELINES: dict[Family, Any] = {Family.SD1: StableDiffusionPipeline, Family.SDXL: StableDiffusionXLPipeline}
FILES = {
    (Family.SD1, "faceid-lora"): "ip-adapter-faceid_sd15.bin",
    (Family.SD1, "faceid-plus"): "ip-adapter-faceid-plusv2_sd15.bin",
    (Family.SDXL, "faceid-lora"): "ip-adapter-faceid_sdxl.bin",
    (Family.SDXL, "faceid-plus"): "ip-adapter-faceid-plusv2_sdxl.bin",
}


@pytest.fixture
def face() -> Image:
    return draw_face(blank(SIDE, SIDE), (32, 30), 24)


@pytest.fixture
def who(face: Image) -> Identity:
    return Identity(FACE_ID, (face,), np.array([0.6, 0.8], np.float32), adapter.FACE_ID_EMBEDDER, 0.7)


@pytest.fixture
def sd1(paths: Paths) -> Path:
    return tiny.folder(paths.models / "Stable-diffusion" / "mine", width=768)


def job(**more: object) -> Txt2Img:
    return Txt2Img(prompt="a photo", width=SIDE, height=SIDE, steps=2, seed=3, checkpoint="mine", **more)  # type: ignore[arg-type]


def pipeline(family: Family, unet: Any, **more: Any) -> Any:
    """diffusers' own pipeline around a UNet; nothing else of it is asked for here."""
    names = ("vae", "text_encoder", "tokenizer")
    names += ("text_encoder_2", "tokenizer_2") if family is Family.SDXL else ("safety_checker", "feature_extractor")
    parts = {
        **dict.fromkeys(names),
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
        "unet": unet,
        **more,
    }
    checks = {"requires_safety_checker": False} if family is Family.SD1 else {}
    return PIPELINES[family](**parts, **checks)


def inputs(family: Family, text: int) -> dict[str, Any]:
    """What a UNet is given for both halves of the guidance, without what the adapter is told."""
    random = torch.Generator().manual_seed(1)
    given: dict[str, Any] = {"sample": torch.randn(2, 4, 8, 8, generator=random), "timestep": torch.tensor(500)}
    given["encoder_hidden_states"] = torch.randn(2, 7, text, generator=random)
    if family is Family.SDXL:
        pooled, times = torch.randn(2, 1280, generator=random), torch.ones(2, 6) * 64
        given["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": times}
    return given


def drawn(unet: Any, given: dict[str, Any], told: Any = None) -> torch.Tensor:
    added = {**given.get("added_cond_kwargs", {}), **({} if told is None else {"image_embeds": told})}
    with torch.no_grad():
        out: torch.Tensor = unet(**{**given, "added_cond_kwargs": added}).sample
    return out


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "layout"), FILES)
def test_a_published_file_acts_as_in_diffusers_own_pipeline(
    family: Family, layout: str, tmp_path: Path, face: Image, who: Identity
) -> None:
    torch.manual_seed(0)
    config = tiny_files.unet_config(family) if family is Family.SDXL else tiny.unet_config(768)
    unet = UNet2DConditionModel(**config).eval()
    eyes = tiny_adapters.image_encoder(tmp_path / "eyes")
    path = tiny_adapters.write(tmp_path / FILES[family, layout], unet, layout)
    encoder, given = adapters.ImageEncoder(eyes, torch.float32), inputs(family, unet.config.cross_attention_dim)
    plus = layout == "faceid-plus"

    def see(picture: Image, patches: bool) -> adapters.Seen:
        assert plus and patches
        return encoder.see(face, patches=True, device=torch.device("cpu"))  # the pipeline gets this picture as well

    read = adapter.read(path)
    assert read.shortcut == plus
    cue = adapters.cue(who, read, FakeVision(), see)
    before = drawn(unet, given)
    with adapter.worn(unet, [cue]):
        mine = drawn(unet, given, [cue.sides(True)])
        alone = drawn(unet, {**given, **_half(given)}, [cue.sides(False)])
    assert torch.equal(before, drawn(unet, given)), "the UNet is as it was, bit for bit"

    more = {"image_encoder": CLIPVisionModelWithProjection.from_pretrained(eyes)}
    more["feature_extractor"] = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pipe = pipeline(family, unet, **more)
    pipe.load_ip_adapter(tmp_path, subfolder="", weight_name=path.name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.7)
    if plus:
        net = pipe.unet.encoder_hid_proj.image_projection_layers[0]
        with torch.no_grad():
            net.clip_embeds = pipe.prepare_ip_adapter_image_embeds([Pil.fromarray(face)], None, "cpu", 1, True)[0]
        net.shortcut = True
    vector = torch.tensor([[[0.6, 0.8]]])
    theirs = drawn(pipe.unet, given, [torch.cat([torch.zeros_like(vector), vector])])
    assert (mine - before).abs().max() > 1e-2
    torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(alone, mine[1:], atol=1e-5, rtol=1e-4)


def _half(given: dict[str, Any]) -> dict[str, Any]:
    """The positive half of what a UNet is given."""
    half: dict[str, Any] = {name: given[name][1:] for name in ("sample", "encoder_hidden_states")}
    added = given.get("added_cond_kwargs", {})
    return {**half, "added_cond_kwargs": {name: tensor[1:] for name, tensor in added.items()}}


@pytest.mark.thorough
def test_version_1_of_plus_has_no_shortcut_and_the_lora_counts(tmp_path: Path, face: Image, who: Identity) -> None:
    unet = UNet2DConditionModel(**tiny.unet_config(768)).eval()
    encoder = adapters.ImageEncoder(tiny_adapters.image_encoder(tmp_path / "eyes"), torch.float32)
    given = inputs(Family.SD1, 768)

    def told(name: str, *, lora: bool = True) -> torch.Tensor:
        read = adapter.read(tiny_adapters.write(tmp_path / name, unet, "faceid-plus"))
        read = read if lora else replace(read, lora={})
        cue = adapters.cue(
            who, read, FakeVision(), lambda _, patches: encoder.see(face, patches=patches, device=torch.device("cpu"))
        )
        with adapter.worn(unet, [cue]):
            return drawn(unet, given, [cue.sides(True)])

    second = told("ip-adapter-faceid-plusv2_sd15.bin")
    assert not torch.allclose(second, told("ip-adapter-faceid-plus_sd15.bin"), atol=1e-3)
    assert not torch.allclose(second, told("ip-adapter-faceid-plusv2_sd15.bin", lora=False), atol=1e-3)


@pytest.mark.thorough
def test_a_picture_follows_the_person_and_the_next_one_is_as_before(
    host: EmbeddedHost, paths: Paths, sd1: Path, who: Identity, face: Image
) -> None:
    folder, unet = paths.models / "ControlNet", sd.load(sd1, device="cpu", dtype=torch.float32).unet
    assert FACE_ID not in host.identities(Family.SD1)
    tiny_adapters.write(folder / "ip-adapter-faceid_sd15.bin", unet, "faceid-lora")
    assert host.identities(Family.SD1) == {FACE_ID: 1} and host.identities(Family.SDXL) == {}
    plain, mine = host.txt2img(job()).image, host.txt2img(job(identities=[who])).image
    other = replace(who, embedding=np.array([-0.8, 0.6], np.float32))
    assert not np.array_equal(mine, plain)
    assert not np.array_equal(mine, host.txt2img(job(identities=[other])).image)
    assert np.array_equal(mine, host.txt2img(job(identities=[who])).image)
    assert np.array_equal(plain, host.txt2img(job()).image)
    # FaceID-plus is the better one, where CLIP's encoder is there.
    tiny_adapters.write(folder / "ip-adapter-faceid-plusv2_sd15.bin", unet, "faceid-plus")
    assert np.array_equal(mine, host.txt2img(job(identities=[who])).image)
    tiny_adapters.image_encoder(paths.models / library.IMAGE_ENCODER)
    plus = host.txt2img(job(identities=[who])).image
    turned = replace(who, pictures=(np.ascontiguousarray(255 - face), face))
    assert not np.array_equal(plus, mine)
    assert not np.array_equal(plus, host.txt2img(job(identities=[turned])).image), "it sees the picture too"


@pytest.mark.thorough
def test_what_is_missing_or_wrong_is_one_sentence(
    host: EmbeddedHost, paths: Paths, sd1: Path, who: Identity, bench_parts: sd.Parts
) -> None:
    folder, unet = paths.models / "ControlNet", sd.load(sd1, device="cpu", dtype=torch.float32).unet
    asked = job(identities=[who])
    plain = host.txt2img(job()).image
    path = tiny_adapters.write(folder / "ip-adapter-faceid-plusv2_sd15.bin", unet, "faceid-plus")
    with pytest.raises(AssetMissing, match="image encoder of IP-Adapter is missing"):
        host.txt2img(asked)
    tiny_adapters.image_encoder(paths.models / library.IMAGE_ENCODER)
    longer = replace(who, embedding=np.ones(3, np.float32))
    with pytest.raises(InvalidRequest, match="takes 2 numbers and is given 3"):
        host.txt2img(job(identities=[longer]))
    tiny_adapters.write(path, bench_parts.unet, "faceid-plus")
    with pytest.raises(InvalidRequest, match="another family of models"):
        host.txt2img(asked)
    tiny_adapters.write(path, unet, "faceid-plus")
    whole = torch.load(path, weights_only=True)
    for part, name, value in (
        ("ip_adapter", "0.to_q_lora.down.weight", None),
        ("ip_adapter", "0.to_q_lora.up.weight", torch.zeros(8, 3)),
        ("ip_adapter", "1.to_out_lora.up.weight", torch.full((2, 4), torch.nan)),
        ("image_proj", "perceiver_resampler.proj_out.bias", None),
        ("image_proj", "perceiver_resampler.layers.0.0.to_q.weight", torch.zeros(64, 7)),
    ):
        own = {k: v for k, v in whole[part].items() if k != name}
        torch.save({**whole, part: own if value is None else {**own, name: value}}, path)
        with pytest.raises(InvalidRequest, match="is damaged"):
            host.txt2img(asked)
        assert np.array_equal(plain, host.txt2img(job()).image), "nothing of it is left on"
    torch.save({**whole, "ip_adapter": {**whole["ip_adapter"], "99.to_q_lora.down.weight": torch.zeros(4, 4),
                "99.to_q_lora.up.weight": torch.zeros(4, 4)}}, path)  # fmt: skip
    with pytest.raises(InvalidRequest, match="another family of models"):
        host.txt2img(asked)
    torch.save({"image_proj": whole["image_proj"]}, path)
    with pytest.raises(InvalidRequest, match="not an adapter of a kind"):
        host.txt2img(asked)
    torch.save({"image_proj": {"latents": Path("/")}}, path)
    with pytest.raises(InvalidRequest, match="without running code"):
        host.txt2img(asked)


def test_without_its_embedder_it_says_which_one_it_needs(tmp_path: Path, who: Identity) -> None:
    class Lacking(FakeVision):
        def preferring(self, backends: Any) -> Any:
            return self

    unet = UNet2DConditionModel(**tiny.unet_config(768))
    read = adapter.read(tiny_adapters.write(tmp_path / "ip-adapter-faceid_sd15.bin", unet, "faceid-lora"))
    vision: Vision = Lacking()
    with pytest.raises(AssetMissing, match="faces as buffalo_l describes them, which isn't here"):
        adapters.cue(
            replace(who, embedder="fake-embedder"), read, vision, lambda *_: pytest.fail("no picture is shown")
        )
    assert VisionFailed not in AssetMissing.__mro__


def test_the_third_method_asks_for_it_where_the_family_has_it() -> None:
    asked = PortraitConfig(id_control=True, id_control_method=ID_METHODS[2], ipa_weight=0.4)
    for family in (Family.SD1, Family.SDXL, Family.BENCH):
        row = plan.adapter(spec(family), asked, alone=False)
        assert row is not None and (row.kind, row.weight) == (FACE_ID, 0.4)
    assert plan.adapter(spec(Family.SD2), asked, alone=False) is None
    alone = plan.adapter(spec(Family.SD1), PortraitConfig(no_user_lora_mode=ID_METHODS[2]), alone=True)
    assert alone is not None and (alone.kind, alone.weight) == (FACE_ID, 0.6)
    plain = plan.adapter(spec(Family.SD1), replace(asked, id_control_method=ID_METHODS[0]), alone=False)
    assert plain is not None and plain.kind is IdentityKind.IP_ADAPTER_FACE
