"""What the parameters of adapters make of the jobs: which identity, by which weights, from which pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.config import ID_METHODS, REF_MODES, Family
from easyphoto.families.spec import Pass
from easyphoto.inference import gallery, plan
from easyphoto.inference.portrait import portray
from easyphoto.ports import ControlRole, Identity, IdentityKind, Img2Img
from tests.fakes import FakeHost, identity
from tests.inference.studio import config, task
from tests.inference.test_turned_heads import Heads, album, person, template

IP_ADAPTER, INSTANTID = IdentityKind.IP_ADAPTER_FACE, IdentityKind.INSTANTID
ALONE = {"ref_mode_choose": REF_MODES[1]}
EACH_WEIGHT = {
    "ipa_weight": 0.1,
    "instantid_id_weight": 0.2,
    "instantid_ipa_weight": 0.3,
    "ipa_only_weight": 0.4,
    "instantid_only_id_weight": 0.5,
    "instantid_only_ipa_weight": 0.6,
}


def jobs(folder: Path, yaw: int = 0, shown: Any = None, **more: Any) -> list[Img2Img]:
    """The jobs of a portrait of Anna, who looks ahead in her reference and to 0, 25, 40 and -30 degrees in photos."""
    family = more.pop("family", Family.SDXL)
    photos = album(folder, zero=(10, 0), near=(30, 25), forty=(50, 40), left=(70, -30))
    seen = gallery.measure(photos, Heads())
    anna = dataclasses.replace(person(folder), gallery=seen, mean=seen.mean, shown=shown)
    chosen = config(super_resolution=False, **more)
    host = FakeHost(paint=identity, kinds={IP_ADAPTER: 1, INSTANTID: 2})
    list(portray(task((template(yaw),), anna, config=chosen, family=family), host, Heads()))
    return [job for job in host.jobs if isinstance(job, Img2Img)]


def given(job: Img2Img) -> list[tuple[IdentityKind, float, float | None]]:
    return [(one.kind, one.weight, one.place) for one in job.identities]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("asked", "expected", "loras"),
    [
        ({"id_control": True}, (IP_ADAPTER, 0.1, None), 1),
        ({"id_control": True, "id_control_method": ID_METHODS[1]}, (INSTANTID, 0.3, 0.2), 1),
        (ALONE, (IP_ADAPTER, 0.4, None), 0),
        ({**ALONE, "no_user_lora_mode": ID_METHODS[1]}, (INSTANTID, 0.6, 0.5), 0),
    ],
)
def test_each_weight_goes_to_its_own_adapter(tmp_path: Path, asked: Any, expected: Any, loras: int) -> None:
    made = jobs(tmp_path, **asked, **EACH_WEIGHT)
    assert [given(job) for job in made] == [[expected]] * 2
    assert [len(job.loras) for job in made] == [loras] * 2


@pytest.mark.thorough
def test_nothing_is_asked_for_unless_the_user_does_or_where_the_weights_are_zero(tmp_path: Path) -> None:
    assert [given(job) for job in jobs(tmp_path, **EACH_WEIGHT)] == [[], []]
    assert [given(job) for job in jobs(tmp_path, id_control=True, ipa_weight=0.0)] == [[], []]


@pytest.mark.thorough
def test_instantid_samples_as_the_original_does_and_alone_with_a_prompt_of_its_own(tmp_path: Path) -> None:
    plain, beside = jobs(tmp_path), jobs(tmp_path, id_control=True, id_control_method=ID_METHODS[1])
    alone = jobs(tmp_path, no_user_lora_mode=ID_METHODS[1], additional_prompt="a hat", **ALONE)
    for made in (beside, alone):
        assert {(job.sampler, job.cfg_scale) for job in made} == {("Euler", 5.0)}
    assert {job.sampler for job in plain} == {"DPM++ 2M SDE Karras"}
    assert {job.prompt for job in beside} == {job.prompt for job in plain}, "the LoRA needs its trigger"
    assert {job.prompt for job in alone} == {"1person, a hat"}
    lcm = plan.row(Pass.FIRST, Family.SDXL, config(lcm_accelerate=True, no_user_lora_mode=ID_METHODS[1]), alone=True)
    assert (lcm.sampler, lcm.cfg_scale) == ("Euler a", 2.0)


def test_the_ip_adapter_takes_the_tiles_place_where_a_host_serves_it(tmp_path: Path) -> None:
    plain, shown = jobs(tmp_path, family=Family.SD1), jobs(tmp_path, family=Family.SD1, id_control=True)
    assert [c.role for c in plain[1].controls] == [ControlRole.CANNY, ControlRole.TILE]
    assert [c.role for c in shown[1].controls] == [ControlRole.CANNY]
    assert [c.role for c in shown[0].controls] == [c.role for c in plain[0].controls]


def people_in(found: Identity) -> list[int]:
    """Who is on each picture, as the green of the discs says."""
    numbers = []
    for picture in found.pictures:
        (face,) = Heads().detector.detect(picture)
        x, y = (round(v) for v in face.center)
        numbers.append(int(np.median(picture[y - 2 : y + 3, x - 2 : x + 3, 1])))
    return numbers


@pytest.mark.thorough
def test_photos_are_shown_by_how_near_their_heads_are_to_the_templates(tmp_path: Path) -> None:
    (one, *_), (three, *_), (more, *_) = (
        jobs(tmp_path, yaw=40, id_control=True, id_photos=count)[0].identities for count in (1, 3, 8)
    )
    assert people_in(one) == [50]
    assert people_in(three) == [50, 30, 10]
    assert people_in(more) == [50, 30, 10, 70]


@pytest.mark.thorough
def test_a_picture_that_was_given_is_shown_instead(tmp_path: Path) -> None:
    mine = template(0)
    for asked in ({"id_control": True}, ALONE):
        for job in jobs(tmp_path, shown=mine, **asked):
            (found,) = job.identities
            assert len(found.pictures) == 1 and found.pictures[0] is mine
            (face,) = Heads().detector.detect(mine)
            np.testing.assert_allclose(found.embedding, Heads().embedder.embed(mine, face), atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("asked", "weight"),
    [
        ({"id_control": True, "ipa_weight": 0.5}, 0.3),
        ({"id_control": True, "ipa_weight": 0.1}, 0.1),
        (ALONE, 0.3),
        ({"id_control": True, "id_control_method": ID_METHODS[1]}, None),
        ({}, None),
    ],
)
def test_a_picture_from_text_is_told_a_little_of_the_person(tmp_path: Path, asked: Any, weight: float | None) -> None:
    photos = album(tmp_path, zero=(10, 0), near=(30, 25))
    seen = gallery.measure(photos, Heads())
    anna = dataclasses.replace(person(tmp_path), gallery=seen, mean=seen.mean)
    text = {"text_to_image_input_prompt": "a wall", "text_to_image_width": 320, "text_to_image_height": 384}
    host = FakeHost(kinds={IP_ADAPTER: 1, INSTANTID: 2})
    list(
        portray(
            task((), anna, config=config(super_resolution=False, **text, **asked), family=Family.SD1), host, Heads()
        )
    )
    first = next(job for job in host.jobs if not isinstance(job, Img2Img))
    assert [(one.kind, one.weight) for one in first.identities] == ([] if weight is None else [(IP_ADAPTER, weight)])
    if weight is not None:
        assert first.identities[0].pictures[0] is anna.reference, "who looks ahead"
