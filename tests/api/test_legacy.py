"""Tests of the routes of the original extension: their names, defaults and answers."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from easyphoto.config import Family
from easyphoto.ports import Checkpoint, Img2Img
from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.fakes import FAKE_CHECKPOINT, FakeHost

TRAIN, INFER = "/easyphoto/easyphoto_train_forward", "/easyphoto/easyphoto_infer_forward"
AS_SENT: dict[str, Any] = {
    "sd_model_checkpoint": "Chilloutmix-Ni-pruned-fp16-fix.safetensors",
    "train_mode_choose": "Train Human Lora",
    "resolution": 512,
    "val_and_checkpointing_steps": 100,
    "max_train_steps": 800,
    "steps_per_photos": 200,
    "train_batch_size": 1,
    "gradient_accumulation_steps": 4,
    "dataloader_num_workers": 16,
    "learning_rate": 1e-4,
    "rank": 128,
    "network_alpha": 64,
}
"""What a client of the original sends when its user chose nothing."""


def host(service: EasyPhoto) -> FakeHost:
    found: FakeHost = service.host  # type: ignore[assignment]
    return found


def post(client: httpx.Client, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """As its clients post: JSON as bare data, without a content type."""
    answer = client.post(path, content=json.dumps(fields).encode())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_train_and_infer(client: httpx.Client, service: EasyPhoto, photos: list[str], templates: list[str]) -> None:
    answer = post(client, TRAIN, {**AS_SENT, "user_id": "test", "instance_images": photos})
    assert answer["message"].startswith("The training has been completed.")
    assert "Chilloutmix" in answer["message"] and "default base model" in answer["message"]

    fields = {"user_ids": ["test"], "init_image": templates[0], "seed": 12345, "tabs": 1, "ipa_control": False}
    answer = post(client, INFER, {**fields, "display_score": True, "sd_model_checkpoint": "fake"})
    assert answer["message"] == "Template 1 Success."
    assert Pillow.open(io.BytesIO(base64.b64decode(answer["outputs"][0]))).size == (384, 384)
    [[picture, score]] = answer["face_id_outputs"]
    assert Pillow.open(io.BytesIO(base64.b64decode(picture))).format == "JPEG"
    assert base64.b64decode(score).decode().endswith(", test, the reference image")
    first = next(j for j in host(service).jobs if isinstance(j, Img2Img))
    assert first.seed == 12345 and first.denoising_strength == 0.45


def test_defaults_are_the_originals(client: httpx.Client, service: EasyPhoto, templates: list[str]) -> None:
    trained(service, "test")
    post(client, INFER, {"user_ids": "test", "init_image": templates[0]})
    strengths = [j.denoising_strength for j in host(service).jobs if isinstance(j, Img2Img)]
    assert strengths == [0.45, 0.35]
    assert [j.steps for j in host(service).jobs] == [50, 20]


@pytest.mark.thorough
def test_tabs_say_where_the_templates_are(client: httpx.Client, service: EasyPhoto, templates: list[str]) -> None:
    trained(service, "test")
    few = {"first_diffusion_steps": 2, "second_diffusion_steps": 2}
    fields = {"user_ids": ["test"], "selected_template_images": templates[:1], "uploaded_template_images": templates}
    for tab, count in ((0, 1), (2, 2), (3, 1)):
        answer = post(client, INFER, {**fields, **few, "tabs": str(tab)})
        assert len(answer["outputs"]) == count, answer["message"]
    assert "no template" not in answer["message"]
    assert "garden" in next(j.prompt for j in host(service).jobs if not isinstance(j, Img2Img))


def test_one_bad_template_leaves_the_others(client: httpx.Client, service: EasyPhoto, templates: list[str]) -> None:
    trained(service, "test")
    broken = base64.b64encode(b"not a picture").decode()
    fields = {"user_ids": ["test"], "uploaded_template_images": [broken, templates[0]], "tabs": 2}
    answer = post(client, INFER, {**fields, "first_diffusion_steps": 2, "second_diffusion_steps": 2})
    assert len(answer["outputs"]) == 1
    first, second = answer["message"].splitlines()[:2]
    assert first.startswith("Template 1 error") and second == "Template 2 Success."


def test_templates_that_all_fail_have_their_lines(client: httpx.Client, service: EasyPhoto) -> None:
    trained(service, "ada")
    bad = base64.b64encode(b"no picture").decode()
    fields = {"user_ids": ["ada"], "tabs": 2, "uploaded_template_images": [bad, bad], "sd_model_checkpoint": "fake"}
    answer = post(client, INFER, fields)
    lines = answer["message"].splitlines()
    assert [line.split(" error")[0] for line in lines] == ["Template 1", "Template 2"] and answer["outputs"] == []


def test_values_that_only_repeat_defaults_leave_the_family_its_own(
    client: httpx.Client, service: EasyPhoto, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host(service).available = (Checkpoint("small", Path("small"), Family.BENCH), FAKE_CHECKPOINT)
    seen: list[Any] = []
    train = service.train
    monkeypatch.setattr(service, "train", lambda request: seen.append(request.config) or train(request))
    post(client, TRAIN, {**AS_SENT, "user_id": "test", "instance_images": photos})
    assert (seen[0].resolution, seen[0].rank) == (256, 16)
    post(client, TRAIN, {**AS_SENT, "user_id": "test", "instance_images": photos, "rank": 8})
    assert seen[1].rank == 8
    named = {**AS_SENT, "sd_model_checkpoint": "fake", "user_id": "test", "instance_images": photos}
    post(client, TRAIN, named)
    assert (seen[2].resolution, seen[2].rank, seen[2].skin_retouching_bool) == (512, 128, False)


def test_what_is_not_there_yet_is_said(client: httpx.Client, service: EasyPhoto, templates: list[str]) -> None:
    trained(service, "test")
    fields = {"user_ids": ["test"], "init_image": templates[0], "sd_model_checkpoint": "fake"}
    assert "ipa_control was left out" in post(client, INFER, {**fields, "ipa_control": True})["message"]
    answer = post(client, INFER, {**fields, "ref_mode_choose": "Infer with IPA only(without Pretraining Lora)"})
    assert answer["outputs"] == [] and "ref_mode_choose" in answer["message"]
    answer = post(client, TRAIN, {"user_id": "x", "instance_images": templates, "enable_rl": True})
    assert "enable_rl was left out" in answer["message"]
    answer = post(client, "/easyphoto/easyphoto_video_infer_forward", {"user_ids": ["test"], "max_frames": 32})
    assert answer == {**answer, "outputs": [], "output_video": None, "output_gif": None}
    assert "Video" in answer["message"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (TRAIN, {"user_id": "x"}, "no photos"),
        (TRAIN, {"user_id": "../x", "instance_images": ["AAAA"]}, "user id"),
        (TRAIN, {"user_id": 7, "instance_images": ["AAAA"]}, "user_id"),
        (TRAIN, {"user_id": "x", "instance_images": ["AAAA"], "rank": "many"}, "rank"),
        (TRAIN, {"user_id": "x", "instance_images": ["http://127.0.0.1/x.jpg"]}, "base64"),
        (TRAIN, {"user_id": "x", "instance_images": ["AAAA"], "sd_model_checkpoint": "nowhere.ckpt"}, "nowhere"),
        (INFER, {"user_ids": ["x"]}, "template"),
        (INFER, {"user_ids": ["x"], "init_image": "AAAA"}, "no trained person"),
        (INFER, {"user_ids": {"a": 1}, "init_image": "AAAA"}, "list of texts"),
        (INFER, {"user_ids": ["x"], "init_image": "AAAA", "tabs": 9}, "tabs"),
        (INFER, {"user_ids": ["\ud800"], "init_image": "AAAA"}, "user id"),
    ],
)
def test_errors_are_sentences_in_the_originals_shape(
    client: httpx.Client, path: str, fields: dict[str, Any], words: str
) -> None:
    answer = post(client, path, fields)
    assert words in answer["message"]
    assert answer.get("outputs", []) == []


def test_a_body_that_is_no_object(client: httpx.Client) -> None:
    for body in (b"", b"[1]", b"{", b"\xff", b"[" * 100_000):
        answer = client.post(TRAIN, content=body)
        assert answer.status_code == 422 and answer.json()["code"] == "invalid_request"
