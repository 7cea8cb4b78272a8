"""The original's route and the typed one with an adapter: which fields reach it, and people of one picture alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from easyphoto.config import Family
from easyphoto.ports import IdentityKind, Img2Img
from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.api.conftest import ended
from tests.api.test_legacy import INFER, host, post
from tests.fakes import FAKE_CHECKPOINT

IP_ADAPTER, INSTANTID = IdentityKind.IP_ADAPTER_FACE, IdentityKind.INSTANTID
QUICK = {"first_diffusion_steps": 2, "second_diffusion_steps": 2, "super_resolution": False}
ALONE = "Infer with IPA or InstantID only(without Pretraining Lora)"
WHOLE_FORM: dict[str, Any] = {
    **QUICK,
    "sd_model_checkpoint": "fake",
    "id_control": True,
    "ipa_weight": 0.11,
    "instantid_id_weight": 0.12,
    "instantid_ipa_weight": 0.13,
    "ipa_only_weight": 0.14,
    "instantid_only_id_weight": 0.15,
    "instantid_only_ipa_weight": 0.16,
}


@pytest.fixture(autouse=True)
def _adapters(service: EasyPhoto) -> None:
    host(service).kinds = {IP_ADAPTER: 1, INSTANTID: 2}


def drawn(service: EasyPhoto) -> list[Any]:
    found = [
        (one.kind, one.weight, one.place, len(one.pictures))
        for job in host(service).jobs
        if isinstance(job, Img2Img)
        for one in job.identities
    ]
    host(service).jobs.clear()
    return found


@pytest.mark.thorough
def test_the_originals_fields_reach_the_adapter_that_they_name(
    client: httpx.Client, service: EasyPhoto, templates: list[str], photos: list[str]
) -> None:
    trained(service, "test")
    form = {**WHOLE_FORM, "user_ids": ["test"], "init_image": templates[0]}
    assert post(client, INFER, form)["message"] == "Template 1 Success."
    assert {one[:3] for one in drawn(service)} == {(IP_ADAPTER, 0.11, None)}
    for word in ("IP-Adapter", "IP-Adapter Face"):
        post(client, INFER, {**form, "id_control_method": word, "ipa_image": photos[0]})
        assert set(drawn(service)) == {(IP_ADAPTER, 0.11, None, 1)}
    post(client, INFER, {**form, "id_control_method": "InstantID", "instantid_image": photos[0]})
    assert set(drawn(service)) == {(INSTANTID, 0.13, 0.12, 1)}
    wrong = post(client, INFER, {**form, "id_control_method": "PhotoMaker"})
    assert "id_control_method must be one of" in wrong["message"]
    defaults = {k: v for k, v in form.items() if "weight" not in k}
    post(client, INFER, defaults)
    assert {one[:2] for one in drawn(service)} == {(IP_ADAPTER, 0.5)}, "the default of the original's route"


@pytest.mark.thorough
def test_a_picture_alone_makes_a_portrait(
    client: httpx.Client, service: EasyPhoto, templates: list[str], photos: list[str]
) -> None:
    form = {**WHOLE_FORM, "init_image": templates[0], "ref_mode_choose": ALONE, "display_score": True}
    made = post(client, INFER, {**form, "ipa_only_image": photos[0]})
    assert made["message"] == "Template 1 Success." and len(made["outputs"]) == 1, made["message"]
    assert all(not job.loras for job in host(service).jobs)
    assert set(drawn(service)) == {(IP_ADAPTER, 0.14, None, 1)}
    form["no_user_lora_mode"] = "InstantID"
    assert "Nobody was chosen" in post(client, INFER, {**form, "ipa_only_image": photos[0]})["message"]
    post(client, INFER, {**form, "instantid_only_image": photos[0]})
    assert set(drawn(service)) == {(INSTANTID, 0.16, 0.15, 1)}


def test_the_typed_route_takes_the_picture_and_says_what_the_host_lacks(
    client: httpx.Client, service: EasyPhoto, templates: list[str], photos: list[str]
) -> None:
    trained(service, "ann")
    trained(service, "bob", who=60)
    asked = {"user_ids": ["ann"], "templates": templates[:1], "identity_image": photos[0]}
    options = {**QUICK, "id_control": True, "ipa_weight": 0.4}
    job = client.post("/easyphoto/v1/jobs/portrait", json={**asked, "options": options}).json()["id"]
    assert ended(client, job)["state"] == "finished" and set(drawn(service)) == {(IP_ADAPTER, 0.4, None, 1)}
    two = client.post("/easyphoto/v1/jobs/portrait", json={**asked, "user_ids": ["ann", "bob"], "options": options})
    assert two.status_code == 422 and "shows one person" in two.json()["message"]
    host(service).kinds = {}
    options["ref_mode_choose"] = ALONE
    none = client.post("/easyphoto/v1/jobs/portrait", json={**asked, "options": options})
    assert none.status_code >= 400 and "ref_mode_choose leaves the LoRA out" in none.json()["message"]
    assert FAKE_CHECKPOINT.family is Family.SD1
