"""Tests of clips over HTTP: the typed routes and that of the original."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto.clips import decoding, encoding
from easyphoto.clips.encoding import Writing
from easyphoto.config import PortraitConfig
from easyphoto.service import EasyPhoto, VideoRequest
from tests.acting import trained
from tests.api.conftest import b64, ended
from tests.fakes import blank, draw_face

VIDEO, OPTIONS = "/easyphoto/easyphoto_video_infer_forward", {"first_diffusion_steps": 15, "second_diffusion_steps": 15}


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """Five frames of somebody who walks, in base64."""
    frames = [draw_face(blank(200, 140), (80 + 4 * i, 70), 44, who=45) for i in range(5)]
    encoding.write(tmp_path / "walk.gif", frames, Writing(Fraction(10)))
    return b64(tmp_path / "walk.gif")


def test_a_clip_is_sent_made_and_fetched(client: httpx.Client, service: EasyPhoto, clip: str) -> None:
    trained(service, "ann")
    payload = {"user_ids": ["ann"], "clip": clip, "name": "../walk.gif", "format": "webp", "options": OPTIONS}
    answer = client.post("/easyphoto/v1/jobs/video", json=payload)
    assert answer.status_code == 202, answer.text
    job = ended(client, answer.json()["id"])
    assert job["state"] == "finished" and job["what"] == "video", job
    assert (job["video"]["frames"], job["video"]["repainted"]) == (5, 5)
    assert job["video"]["name"] == f"walk-{job['id']}.webp"
    assert job["video"]["people"][0]["user_id"] == "ann"
    fetched = client.get(f"/easyphoto/v1/jobs/{job['id']}/video")
    assert fetched.headers["content-type"] == "image/webp"
    with Pillow.open(io.BytesIO(fetched.content)) as made:
        assert made.n_frames == 5 and made.size == (200, 140)
    assert sorted(path.suffix for path in service.paths.videos.iterdir()) == [".json", ".webp"], "no upload is left"


@pytest.mark.thorough
def test_a_clip_that_is_no_file_is_not_found(
    client: httpx.Client, service: EasyPhoto, clip: str, tmp_path: Path
) -> None:
    trained(service, "ann")
    asked = VideoRequest(("ann",), tmp_path / "walk.gif", PortraitConfig(**OPTIONS), format="frames")
    jobs = [service.video(asked), service.video(replace(asked, format="gif"))]
    jobs[0].wait(60)
    jobs[1].wait(60).path.unlink()
    for job in jobs:
        answer = client.get(f"/easyphoto/v1/jobs/{job.id}/video")
        assert (answer.status_code, answer.json()["message"]) == (404, f"The job {job.id} has no clip.")
    assert client.get("/easyphoto/v1/jobs").status_code == 200


def test_what_is_wrong_with_a_clip_is_said_at_once(client: httpx.Client, service: EasyPhoto, clip: str) -> None:
    trained(service, "ann")
    sent = {"user_ids": ["ann"], "clip": clip, "format": "gif"}
    for change, status, words in [
        ({"user_ids": ["nobody"]}, 404, "nobody"),
        ({"clip": base64.b64encode(b"no clip at all").decode()}, 422, "is not a video"),
        ({"clip": "%%%"}, 422, "clip is not valid base64."),
        ({"format": "frames"}, 422, "format"),
        ({"max_frames": 1}, 422, "from 2 to"),
        ({"options": {"seeed": 1}}, 422, "did you mean 'seed'"),
    ]:
        answer = client.post("/easyphoto/v1/jobs/video", json={**sent, **change})
        assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    assert client.get("/easyphoto/v1/jobs/none-such/video").status_code == 404


def test_the_route_of_the_original_gives_a_clip_in_base64(client: httpx.Client, service: EasyPhoto, clip: str) -> None:
    trained(service, "test")
    fields = {"user_ids": ["test"], "init_video": clip, "max_frames": 3, "max_fps": "8", "save_as": "gif", "seed": 4}
    answer = client.post(VIDEO, json={**fields, **OPTIONS, "sd_model_checkpoint": "fake", "video_interpolation": True})
    assert answer.status_code == 200
    said = answer.json()
    assert said["message"].startswith("Video infer success.") and "video_interpolation was left out" in said["message"]
    assert said["output_video"] is None
    with Pillow.open(io.BytesIO(base64.b64decode(said["output_gif"]))) as made:
        assert made.n_frames == 3
    for wrong, words in [
        ({"save_as": "avi"}, "gif or mp4"),
        ({"max_fps": "many"}, "max_fps"),
        ({"user_ids": []}, "Nob"),
    ]:
        assert words in client.post(VIDEO, json={**fields, **wrong}).json()["message"]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_client_of_the_original_gets_its_clip(
    client: httpx.Client, service: EasyPhoto, tmp_path: Path, kind: str
) -> None:
    """Every field that the original's own script sends, as it sends them: as text, without a content type."""
    trained(service, "test")
    frames = [draw_face(blank(200, 140), (80 + 4 * i, 70), 44, who=45) for i in range(5)]
    encoding.write(tmp_path / "walk.mp4", frames, Writing(Fraction(8)))
    fields = {
        "user_ids": ["test"],
        "sd_model_checkpoint": "Chilloutmix-Ni-pruned-fp16-fix.safetensors",
        "sd_model_checkpoint_for_animatediff_text2video": "majicmixRealistic_v7.safetensors",
        "sd_model_checkpoint_for_animatediff_image2video": "majicmixRealistic_v7.safetensors",
        "t2v_input_prompt": "1girl, blue eyes, standing, looking at viewer, upper-body",
        "t2v_input_width": 512,
        "t2v_input_height": 768,
        "scene_id": "none",
        "upload_control_video": False,
        "upload_control_video_type": "openpose",
        "openpose_video": None,
        "init_image": None,
        "init_image_prompt": "",
        "last_image": None,
        "init_video": b64(tmp_path / "walk.mp4"),
        "additional_prompt": "masterpiece, beauty",
        "max_frames": 16,
        "max_fps": 8,
        "save_as": kind,
        "first_diffusion_steps": 50,
        "first_denoising_strength": 0.45,
        "seed": -1,
        "crop_face_preprocess": True,
        "before_face_fusion_ratio": 0.5,
        "after_face_fusion_ratio": 0.5,
        "apply_face_fusion_before": True,
        "apply_face_fusion_after": True,
        "color_shift_middle": True,
        "super_resolution": True,
        "super_resolution_method": "gpen",
        "skin_retouching_bool": False,
        "makeup_transfer": False,
        "makeup_transfer_ratio": 0.50,
        "face_shape_match": False,
        "video_interpolation": False,
        "video_interpolation_ext": 1,
        "tabs": 2,
        "ipa_control": False,
        "ipa_weight": 0.50,
        "ipa_image": None,
        "lcm_accelerate": False,
    }
    answer = client.post(VIDEO, content=json.dumps(fields))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert set(said) == {"message", "outputs", "output_video", "output_gif"}
    assert said["message"].startswith("Video infer success."), said["message"]
    wanted, other = ("output_gif", "output_video") if kind == "gif" else ("output_video", "output_gif")
    assert said[other] is None
    (tmp_path / f"made.{kind}").write_bytes(base64.b64decode(said[wanted]))
    made = decoding.probe(tmp_path / f"made.{kind}")
    assert (made.width, made.height, made.rate) == (200, 140, 8 if kind == "mp4" else Fraction(100, 12))
    sent = [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(one)))) for one in said["outputs"]]
    assert len(sent) == len(list(decoding.frames(made))) == 5
    assert np.abs(sent[2].astype(int) - frames[2]).max() > 20, "somebody else's face"
