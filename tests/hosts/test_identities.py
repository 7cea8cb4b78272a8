"""A family whose passes ask for an identity: what the chain hands to the host of the person's pictures, and what is
said where the host can't take it. No family that ships asks for one yet, so one is made up here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from easyphoto import families
from easyphoto.config import Family, Paths
from easyphoto.events import Event, Notice
from easyphoto.families.spec import ControlModel, ControlRow, Header, IdentityFeed, IdentityRow, Pass, table
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.controlnet import COUNT_LABEL
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.inference import gallery
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask, Subject
from easyphoto.ports import Checkpoint, ControlRole, Host, IdentityKind, Image, Portrait
from tests.fakes import FakeHost, FakeVision
from tests.fakes import identity as unchanged
from tests.hosts.conftest import MakeWebUI, write_checkpoint
from tests.hosts.fake_webui import A1111, FORGE
from tests.inference.studio import config, task
from tests.inference.studio import template as plain_template
from tests.inference.test_turned_heads import Heads, album, person, template

WIDTH = 96
CANNY, IP_ADAPTER, INSTANTID = ControlRole.CANNY, IdentityKind.IP_ADAPTER_FACE, IdentityKind.INSTANTID
SDXL = families.spec(Family.SDXL)
MADE_UP = replace(
    families.spec(Family.SD1),
    family=Family("made-up"),
    header=Header(context=WIDTH, encoders=(WIDTH,), written="made_up_v1", declared=("made_up",)),
    controls=table({Pass.FIRST: (ControlRow(CANNY, 0.5),)}),
    control_models=table(
        {
            CANNY: (ControlModel(("made_up_canny",)),),
            IP_ADAPTER: (ControlModel(("ip_adapter_plus_made_up",), ("ip_adapter_auto", "clip_vit_h_(ipadapter)")),),
            INSTANTID: SDXL.control_models[INSTANTID],
        }
    ),
    identities=table(
        {
            Pass.FIRST: (IdentityRow(IP_ADAPTER, 0.3, IdentityFeed.REFERENCE),),
            Pass.SECOND: (IdentityRow(IP_ADAPTER, 0.6), IdentityRow(INSTANTID, 0.5)),
        }
    ),
)
MODELS = (
    "control_instant_id_sdxl [0a1b2c3d]",
    "ip-adapter-plus_made_up [0a1b2c3d]",
    "ip-adapter_instant_id_sdxl [0a1b2c3d]",
    "made_up_canny [0a1b2c3d]",
)
EVERY_KIND = {IP_ADAPTER: 1, INSTANTID: 2}
ADAPTER_MISSING = (
    "The host has no adapter for {} (made-up): the portrait is made without. The Weights tab says what it needs."
)


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with families.registered(MADE_UP):
        yield


@pytest.fixture
def anna(tmp_path: Path) -> Subject:
    """Who looks ahead in her reference and in one photo, and to the side in another."""
    seen = gallery.measure(album(tmp_path, ahead=(60, 0), aside=(64, 40)), Heads())
    return replace(person(tmp_path), gallery=seen, mean=seen.mean)


def asked(subject: Subject, picture: Image, **more: object) -> PortraitTask:
    chosen = config(super_resolution=False, color_shift_middle=False, color_shift_last=False, **more)
    checkpoint = Checkpoint("one.safetensors", Path("one.safetensors"), MADE_UP.family)
    return replace(task((picture,), subject, config=chosen, family=MADE_UP.family), checkpoint=checkpoint)


def drawn(asked_for: PortraitTask, host: Host) -> tuple[Portrait, list[str]]:
    events: list[Event] = []
    (made,) = portray(asked_for, host, Heads(), events.append)
    return made, [event.message for event in events if isinstance(event, Notice)]


def test_the_rows_make_the_chain_hand_over_the_pictures_of_the_person(anna: Subject) -> None:
    host = FakeHost(paint=unchanged, kinds=EVERY_KIND)
    _, said = drawn(asked(anna, template(40)), host)
    first, second = host.jobs
    assert said == []
    assert [(i.kind, i.weight) for i in first.identities] == [(IP_ADAPTER, 0.3)]
    assert [(i.kind, i.weight) for i in second.identities] == [(IP_ADAPTER, 0.6), (INSTANTID, 0.5)]
    assert [c.role for c in first.controls] == [CANNY], "beside the controls"

    assert anna.gallery is not None
    aside = np.asarray(anna.gallery.shots[1].embedding)
    np.testing.assert_array_equal(first.identities[0].pictures[0], anna.reference)
    for identity in second.identities:
        (picture,) = identity.pictures
        (face,) = Heads().detector.detect(picture)
        np.testing.assert_allclose(Heads().embedder.embed(picture, face), aside, atol=1e-6)
    mean = anna.gallery.mean
    for identity in (*first.identities, *second.identities):
        np.testing.assert_array_equal(identity.embedding, mean)
        assert identity.embedder == anna.gallery.embedder


def test_a_head_that_looks_ahead_gets_the_reference(anna: Subject) -> None:
    host = FakeHost(paint=unchanged, kinds=EVERY_KIND)
    drawn(asked(anna, template(0)), host)
    assert all(i.pictures[0] is anna.reference for job in host.jobs for i in job.identities)


def test_each_of_two_people_is_identified_by_their_own_pictures_and_the_background_by_none(tmp_path: Path) -> None:
    anna, bert = (replace(person(tmp_path), user_id=name) for name in ("anna", "bert"))
    bert = replace(bert, reference=bert.reference[:, ::-1].copy())
    two = replace(asked(anna, plain_template(10, 20)), people=(anna, bert))
    host = FakeHost(paint=unchanged, kinds=EVERY_KIND)
    list(portray(two, host, FakeVision()))
    shown = [[i.pictures[0] for i in job.identities] for job in host.jobs]
    assert [len(pictures) for pictures in shown] == [1, 2, 1, 2, 0]
    assert all(picture is anna.reference for pictures in shown[:2] for picture in pictures)
    assert all(picture is bert.reference for pictures in shown[2:] for picture in pictures)


def test_a_host_that_does_not_serve_a_kind_makes_the_portrait_without_and_says_so_once(anna: Subject) -> None:
    host = FakeHost(paint=unchanged, kinds={INSTANTID: 2})
    _, said = drawn(asked(anna, template(0)), host)
    assert [[i.kind for i in job.identities] for job in host.jobs] == [[], [INSTANTID]]
    assert said == [ADAPTER_MISSING.format("ip-adapter-face")]


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(3, [[IP_ADAPTER], [IP_ADAPTER, INSTANTID]]), (2, [[IP_ADAPTER], [IP_ADAPTER]]), (1, [[], [IP_ADAPTER]])],
)
def test_controls_come_before_identities_where_the_host_has_few_places(
    anna: Subject, limit: int, kept: list[list[IdentityKind]]
) -> None:
    host = FakeHost(paint=unchanged, kinds=EVERY_KIND, limit=limit)
    _, said = drawn(asked(anna, template(0)), host)
    assert [[i.kind for i in job.identities] for job in host.jobs] == kept
    assert [c.role for c in host.jobs[0].controls] == [CANNY]
    told = [f"The host allows {limit} ControlNet units and {count} are wanted" for count in (2, 3) if count > limit]
    assert [sentence.split(":")[0] for sentence in said] == told
    assert all(f'raise "{COUNT_LABEL}"' in sentence for sentence in said)


def test_where_nothing_is_repainted_nobody_is_identified(anna: Subject) -> None:
    host = FakeHost(paint=unchanged)
    _, said = drawn(asked(anna, template(0), fusion_only=True), host)
    assert (host.jobs, said) == ([], [])


@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_in_a_webui_they_are_units_of_its_controlnet(make: MakeWebUI, anna: Subject, dialect: str) -> None:
    fake = make(dialect, slots=4, models=MODELS)
    fake.paint = lambda p: np.asarray(p.init_images[0])
    write_checkpoint(fake.root / "models" / "one.safetensors", WIDTH)
    lora = fake.root / "models" / "Lora" / "anna.safetensors"
    lora.write_bytes(b"anna")
    host = WebUIHost(WebUI.load())
    assert host.identities(MADE_UP.family) == EVERY_KIND
    _, said = drawn(asked(replace(anna, lora=lora), template(40)), host)
    assert said == []
    first, second = fake.img2img.controlnet.pictures
    auto = "ip-adapter-auto" if dialect == A1111 else "CLIP-ViT-H (IPAdapter)"
    who = "instant_id_face_embedding" if dialect == A1111 else "InsightFace (InstantID)"
    assert [unit[:3] for unit in first] == [
        ("none" if dialect == A1111 else "None", "made_up_canny", 0.5),
        (auto, "ip-adapter-plus_made_up", 0.3),
    ]
    assert [unit[:3] for unit in second] == [
        (auto, "ip-adapter-plus_made_up", 0.6),
        (who, "ip-adapter_instant_id_sdxl", 0.5),
        ("instant_id_face_keypoints", "control_instant_id_sdxl", 0.5),
    ]
    np.testing.assert_array_equal(first[1][3], anna.reference)
    np.testing.assert_array_equal(second[0][3], second[1][3])
    np.testing.assert_array_equal(second[2][3], np.asarray(fake.pictures[1].init_images[0]))


def test_the_embedded_host_serves_none_yet(paths: Paths) -> None:
    assert EmbeddedHost(paths, FakeVision(), device="cpu").identities(MADE_UP.family) == {}


def test_a_pass_that_shows_nobody_in_particular_can_have_none() -> None:
    for which in (Pass.TEXT, Pass.BACKGROUND):
        with pytest.raises(ValueError, match="shows no one person"):
            replace(MADE_UP, identities=table({which: (IdentityRow(IP_ADAPTER, 0.3),)}))
    assert all(not spec.identities for spec in families.known() if spec is not MADE_UP)
