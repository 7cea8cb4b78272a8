"""Tests of clips that are drawn, over HTTP: the typed route and that of the original."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from pathlib import Path

import httpx
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.clips import encoding
from easyphoto.clips.encoding import Writing
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.animating import AnimatingHost
from tests.api.conftest import b64, ended
from tests.api.test_clip_routes import OPTIONS, VIDEO
from tests.fakes import FakeHost, FakeVision, blank


@pytest.fixture
def host() -> AnimatingHost:
    return AnimatingHost()


@pytest.fixture
def service(paths: Paths, host: AnimatingHost) -> EasyPhoto:
    made = EasyPhoto(host, FakeVision(), paths)
    trained(made, "ann")
    return made


@pytest.fixture
def picture(tmp_path: Path) -> str:
    pictures.save_png(tmp_path / "start.png", blank(96, 64, gray=40))
    return b64(tmp_path / "start.png")


@pytest.mark.thorough
def test_a_clip_is_asked_for_drawn_and_fetched(client: httpx.Client, host: AnimatingHost, picture: str) -> None:
    payload = {
        "user_ids": ["ann"],
        "prompt": "she smiles",
        "image": picture,
        "last_image": picture,
        "drawing": {"i2v_denoising_strength": 0.5},
        "max_frames": 3,
        "format": "gif",
        "options": OPTIONS,
    }
    answer = client.post("/easyphoto/v1/jobs/video", json=payload)
    assert answer.status_code == 202, answer.text
    job = ended(client, answer.json()["id"])
    assert job["state"] == "finished" and job["video"]["repainted"] == 3, job
    (drawn,) = host.clips
    assert "she smiles" in drawn.prompt and drawn.denoising_strength == 0.5
    assert drawn.image is not None and drawn.last_image is not None and drawn.image.shape == (64, 96, 3)
    with Pillow.open(io.BytesIO(client.get(f"/easyphoto/v1/jobs/{job['id']}/video").content)) as made:
        assert made.n_frames == 3


def test_what_is_wrong_with_a_drawing_is_said_at_once(client: httpx.Client, picture: str) -> None:
    sent = {"user_ids": ["ann"], "prompt": "she smiles", "format": "gif"}
    for change, words in [
        ({"clip": picture}, "one of the two"),
        ({"prompt": ""}, "one of the two"),
        ({"image": "%%%"}, "image is not valid base64."),
        ({"prompt": "", "last_image": picture}, "needs a first one"),
        ({"max_frames": 241}, "at most 240 frames"),
        ({"drawing": {"i2v_denoising_strength": 2}}, "i2v_denoising_strength"),
        ({"drawing": {"motion_modul": "x"}}, "did you mean 'motion_module'"),
        ({"drawing": {"motion_module": "none"}}, "There is no motion module named none."),
    ]:
        answer = client.post("/easyphoto/v1/jobs/video", json={**sent, **change})
        assert 400 <= answer.status_code < 500 and words in answer.json()["message"], answer.text


@pytest.mark.thorough
def test_the_route_of_the_original_draws_from_its_own_fields(
    client: httpx.Client, host: AnimatingHost, picture: str
) -> None:
    form = {
        "user_ids": ["ann"],
        "t2v_input_prompt": "by the sea",
        "t2v_input_width": 512,
        "t2v_input_height": 512,
        "init_image": None,
        "init_video": None,
        "max_frames": "3",
        "upload_control_video": True,
        "sd_model_checkpoint": "fake",
        **OPTIONS,
    }
    said = client.post(VIDEO, json=form).json()
    assert said["message"].startswith("Video infer success.") and "upload_control_video was left out" in said["message"]
    with Pillow.open(io.BytesIO(base64.b64decode(said["output_gif"]))) as made:
        assert made.n_frames == 3
    moved = {**form, "init_image": picture, "init_image_prompt": "she turns", "i2v_denoising_strength": "0.5"}
    assert client.post(VIDEO, json=moved).json()["output_gif"]
    text, image = host.clips
    assert "by the sea" in text.prompt and text.image is None
    assert "she turns" in image.prompt and image.image is not None and image.denoising_strength == 0.5
    nothing = client.post(VIDEO, json={**form, "t2v_input_prompt": ""}).json()
    assert "a picture as init_image, or a text as t2v_input_prompt" in nothing["message"]


@pytest.fixture
def control(tmp_path: Path) -> str:
    encoding.write(tmp_path / "control.gif", [blank(96, 64, gray=40 * at) for at in range(6)], Writing(Fraction(8)))
    return b64(tmp_path / "control.gif")


def test_a_drawn_clip_is_held_to_a_control_clip(client: httpx.Client, host: AnimatingHost, control: str) -> None:
    payload = {"user_ids": [], "prompt": "x", "format": "gif", "control_clip": control, "max_frames": 4}
    payload["drawing"] = {"upload_control_video_type": "canny"}
    answer = client.post("/easyphoto/v1/jobs/video", json=payload)
    assert answer.status_code == 202, answer.text
    assert ended(client, answer.json()["id"])["video"]["frames"] == 4
    (drawn,) = host.clips
    assert [(row[0].role.value, round(row[0].image.mean() / 40)) for row in drawn.frame_controls] == [
        ("canny", at) for at in range(4)
    ]
    for wrong, words in [("%%%", "control_clip is not valid base64"), (b64(Path(__file__)), "control")]:
        said = client.post("/easyphoto/v1/jobs/video", json={**payload, "control_clip": wrong})
        assert 400 <= said.status_code < 500 and words in said.json()["message"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "role", "remark"),
    [
        ("dwpose", "openpose", ""),
        ("openpose", "openpose", ""),
        ("canny", "canny", ""),
        ("depth", None, "upload_control_video was left out: there is no control of that type."),
    ],
)
def test_the_route_of_the_original_holds_a_clip_to_its_control_video(
    client: httpx.Client, host: AnimatingHost, control: str, kind: str, role: str | None, remark: str
) -> None:
    form = {
        "user_ids": ["none"],
        "t2v_input_prompt": "by the sea",
        "t2v_input_width": 512,
        "t2v_input_height": 768,
        "upload_control_video": True,
        "upload_control_video_type": kind,
        "openpose_video": control,
        "max_frames": 16,
        "max_fps": 8,
        **OPTIONS,
    }
    said = client.post(VIDEO, json=form).json()
    assert said["message"].startswith("Video infer success.") and remark in said["message"]
    (drawn,) = host.clips
    assert {row[0].role.value for row in drawn.frame_controls} == ({role} if role else set())
    # as in the original, a clip that is held to another is as wide and high, and as long
    assert (drawn.width, drawn.height, drawn.frames) == ((768, 512, 6) if role else (512, 768, 16))


@pytest.mark.parametrize("host", [FakeHost()])
def test_a_host_that_draws_none_says_so_in_one_sentence(client: httpx.Client, host: FakeHost) -> None:
    answer = client.post("/easyphoto/v1/jobs/video", json={"user_ids": ["ann"], "prompt": "x", "format": "gif"})
    assert answer.json()["message"].startswith("This host draws no clips:")
