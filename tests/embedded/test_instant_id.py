"""InstantID on the embedded host: a tiny random file and ControlNet in the published layouts, against what diffusers'
own modules make of them, and through the host."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file

from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, InvalidRequest, NoFace
from easyphoto.hosts.embedded import EmbeddedHost, instant_id
from easyphoto.ports import Embedding, Face, Identity, IdentityKind, Image, Img2Img, Txt2Img
from easyphoto.sd import adapter, control
from easyphoto.sd.sampling import Sampling
from easyphoto.vision import annotate
from tests import tiny, tiny_adapters, tiny_files
from tests.embedded.test_face_id import inputs, pipeline
from tests.fakes import FakeEmbedder, FakeVision, blank, draw_face

INSTANTID = IdentityKind.INSTANTID
ADAPTER, NET = "ip-adapter_instant_id_sdxl.bin", "control_instant_id_sdxl.safetensors"
LENGTH = 20.0
"""How long the vectors of the embedder are before they are brought to length 1."""
SIDE = 64


@dataclass
class Antelope(FakeEmbedder):
    name: str = adapter.INSTANTID_EMBEDDER

    def features(self, image: Image, face: Face) -> Embedding:
        return self.embed(image, face) * LENGTH


class Seeing(FakeVision):
    """Has antelopev2 beside the embedder that serves."""

    def preferring(self, backends: Any) -> Any:
        view = copy(self)
        if backends.get("embedder") == adapter.INSTANTID_EMBEDDER:
            view.embedder = Antelope()
        return view


class Lacking(FakeVision):
    """Has no other embedder than the one that serves."""

    def preferring(self, backends: Any) -> Any:
        return self


@pytest.fixture
def face() -> Image:
    return draw_face(blank(SIDE, SIDE), (32, 30), 24)


@pytest.fixture
def who(face: Image) -> Identity:
    return Identity(INSTANTID, (face,), np.array([0.6, 0.8], np.float32), "fake-embedder", 0.7, 0.4)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    made: UNet2DConditionModel = UNet2DConditionModel(**tiny_files.unet_config(Family.SDXL)).eval()
    return made


def placing_net(unet: Any) -> Any:
    """A ControlNet for ``unet`` whose last layers aren't zero."""
    torch.manual_seed(1)
    net = ControlNetModel.from_unet(unet, conditioning_channels=3).eval()
    with torch.no_grad():
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            block.weight.normal_(0, 0.1)
        net.controlnet_cond_embedding.conv_out.weight.normal_(0, 0.1)
    return net


def text_job(**more: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 2, "seed": 3, **more})


@pytest.mark.thorough
def test_it_acts_as_diffusers_own_modules_do(tmp_path: Path, unet: Any, face: Image, who: Identity) -> None:
    path = tiny_adapters.write(tmp_path / ADAPTER, unet, "instantid")
    net, given = placing_net(unet), inputs(Family.SDXL, 2048)
    job = Img2Img(**{**vars(text_job(cfg_scale=5.0)), "image": face, "denoising_strength": 0.5})
    cue = instant_id.cue(who, adapter.read(path), Seeing(), job)
    measured = Antelope().features(face, FakeVision().detector.detect(face)[0])
    np.testing.assert_allclose(cue.shown.numpy().ravel(), measured, rtol=1e-6)
    x, like = given["sample"][:1], torch.empty(0)
    hints = control.placings([cue], {INSTANTID: net}, (SIDE, SIDE), like)
    parts = SimpleNamespace(unet=unet, dtype=torch.float32)
    work = Sampling(
        parts, job, None, given["encoder_hidden_states"], given["added_cond_kwargs"], hints, False,  # type: ignore[arg-type]
        torch.Generator(), (cue.sides(True),),
    )  # fmt: skip
    with torch.no_grad(), adapter.worn(unet, [cue]):
        mine = work.guided(x, given["timestep"])

    pipe = pipeline(Family.SDXL, unet)
    pipe.load_ip_adapter(tmp_path, subfolder="", weight_name=path.name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.7)
    vector = torch.from_numpy(measured)[None, None]
    told = torch.cat([torch.zeros_like(vector), vector])
    points = FakeVision().detector.detect(face)[0].points
    drawing = torch.from_numpy(annotate.face_keypoints((SIDE, SIDE), points)).permute(2, 0, 1)[None].float() / 255
    both = {"sample": x.expand(2, -1, -1, -1), "timestep": given["timestep"]}
    with torch.no_grad():
        tokens = pipe.unet.encoder_hid_proj.image_projection_layers[0](told)
        down, mid = net(
            **both, encoder_hidden_states=tokens, controlnet_cond=drawing.expand(2, -1, -1, -1), conditioning_scale=0.4,
            added_cond_kwargs=given["added_cond_kwargs"], return_dict=False,
        )  # fmt: skip
        out = pipe.unet(
            **both, encoder_hidden_states=given["encoder_hidden_states"], down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            added_cond_kwargs={**given["added_cond_kwargs"], "image_embeds": [told[:, None]]},
        ).sample  # fmt: skip
    negative, positive = out.chunk(2)
    torch.testing.assert_close(mine, negative + 5.0 * (positive - negative), atol=1e-3, rtol=1e-3)
    pipe.unload_ip_adapter()


def test_the_drawing_has_the_colours_that_the_net_was_taught() -> None:
    points = np.array([[20, 20], [44, 22], [33, 32], [24, 44], [42, 45]], np.float32) * 4
    drawing = annotate.face_keypoints((256, 300), points)
    assert drawing.shape == (256, 300, 3) and not drawing[0].any()
    seen = [tuple(int(c) for c in drawing[int(y), int(x)]) for x, y in points]
    assert seen == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]
    dark = drawing[int(points[0, 1] + 20), int(points[0, 0] + 22)]
    assert tuple(dark) == (153, 0, 0), "the line to the nose is darker"


@pytest.fixture
def host(paths: Paths) -> EmbeddedHost:
    return EmbeddedHost(paths, Seeing(), device="cpu", dtype=torch.float32)


def checkpoint(paths: Paths) -> Any:
    """A tiny SDXL checkpoint as one file, called mine; returns its UNet."""
    tokens = tiny.tokenizer(paths.models / "tokenizer")
    made = tiny_files.models(Family.SDXL, len(tokens))
    path = paths.models / "Stable-diffusion" / "mine.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tiny_files.single_file(path, Family.SDXL, made)
    return made.unet


@pytest.mark.thorough
def test_a_picture_follows_the_person_and_the_place_of_the_face(
    host: EmbeddedHost, paths: Paths, who: Identity, face: Image
) -> None:
    own, folder = checkpoint(paths), paths.models / "ControlNet"
    tiny_adapters.write(folder / ADAPTER, own, "instantid")
    assert INSTANTID not in host.identities(Family.SDXL), "its ControlNet is missing"
    save_file(placing_net(own).state_dict(), folder / NET)
    assert host.identities(Family.SDXL) == {INSTANTID: 1} and host.identities(Family.SD1) == {}
    template = cv2.resize(face, (SIDE, SIDE))
    common = {**vars(text_job(checkpoint="mine")), "image": template, "denoising_strength": 0.9}

    def drawn(*identities: Identity, **more: Any) -> Image:
        return host.img2img(Img2Img(**{**common, **more, "identities": identities})).image

    plain, mine = drawn(), drawn(who)
    stranger = draw_face(blank(SIDE, SIDE), (32, 30), 24, who=60)
    assert not np.array_equal(plain, mine) and np.array_equal(mine, drawn(who))
    assert not np.array_equal(mine, drawn(replace(who, pictures=(stranger,)))), "the face counts"
    assert not np.array_equal(mine, drawn(replace(who, place=0.0))), "the place counts"
    assert not np.array_equal(mine, drawn(replace(who, weight=0.0)))
    assert np.array_equal(plain, drawn(replace(who, weight=0.0, place=0.0))) and np.array_equal(plain, drawn())
    assert not np.array_equal(
        host.txt2img(text_job(checkpoint="mine")).image,
        host.txt2img(text_job(checkpoint="mine", identities=[who])).image,
    )
    with pytest.raises(NoFace, match="picture for the adapter"):
        drawn(replace(who, pictures=(blank(SIDE, SIDE),)))
    lacking = EmbeddedHost(paths, Lacking(), device="cpu", dtype=torch.float32)
    with pytest.raises(AssetMissing, match="faces as antelopev2 describes them"):
        lacking.txt2img(text_job(checkpoint="mine", identities=[who]))


def test_a_file_of_another_kind_or_family_is_one_sentence(tmp_path: Path, unet: Any, who: Identity) -> None:
    def told(path: Path) -> adapter.Cue:
        return instant_id.cue(who, adapter.read(path), Seeing(), text_job())

    other = tiny_adapters.write(tmp_path / "other" / ADAPTER, unet, "faceid-lora")
    with pytest.raises(InvalidRequest, match="not an adapter of a kind"):
        told(other)
    with pytest.raises(InvalidRequest, match="takes 32 numbers and is given 2"):
        told(tiny_adapters.write(tmp_path / "plus" / ADAPTER, unet, "plus"))
    small = UNet2DConditionModel(**tiny.unet_config(768))
    cue = told(tiny_adapters.write(tmp_path / "small" / ADAPTER, small, "instantid"))
    with pytest.raises(InvalidRequest, match="another family of models"), adapter.worn(unet, [cue]):
        pytest.fail("it was worn")
