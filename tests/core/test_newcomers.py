"""People without a training: they come from photos, are portrayed by an adapter, and become like any other by a
training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import InvalidRequest, NoFace, NotFound
from easyphoto.events import Notice
from easyphoto.ports import IdentityKind
from easyphoto.service import EasyPhoto, PortraitRequest, TrainRequest
from tests.acting import acting_service, lora_file, photos_in, portrait_of, templates_in, trained
from tests.fakes import FakeHost, FakeVision, blank

QUICK = PortraitConfig(seed=5, first_diffusion_steps=2, second_diffusion_steps=2, super_resolution=False)
ADAPTER = {IdentityKind.IP_ADAPTER_FACE: 1}


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(kinds=ADAPTER)


@pytest.fixture
def service(paths: Paths, host: FakeHost) -> EasyPhoto:
    return EasyPhoto(host, FakeVision(), paths)


def test_a_person_of_one_photo_is_there_at_once_and_is_portrayed_by_the_adapter_alone(
    service: EasyPhoto, host: FakeHost, tmp_path: Path
) -> None:
    added = service.add_person("小红", photos_in(tmp_path, count=1))
    assert (added.trained, added.works, added.fault, added.family) == (False, True, "", None)
    assert service.people.list() == [added] and len(added.photos()) == 1
    result = service.generate(PortraitRequest(("小红",), tuple(templates_in(tmp_path, 1)), QUICK)).wait(60)
    assert len(result.portraits) == 1 and result.portraits[0].likeness[0] is not None
    assert [[(i.kind, i.weight) for i in job.identities] for job in host.jobs] == [
        [(IdentityKind.IP_ADAPTER_FACE, 0.6)]
    ] * 2
    assert all(not job.loras for job in host.jobs)


def test_beside_a_lora_the_adapter_joins_when_it_is_asked_for(
    service: EasyPhoto, host: FakeHost, tmp_path: Path
) -> None:
    trained(service, "ann")
    template = tuple(templates_in(tmp_path, 1))
    for config, weights in ((QUICK, []), (replace(QUICK, id_control=True, ipa_weight=0.45), [0.45])):
        host.jobs.clear()
        service.generate(PortraitRequest(("ann",), template, config)).wait(60)
        assert [[i.weight for i in job.identities] for job in host.jobs] == [weights, weights]
        assert all(job.loras for job in host.jobs)


def test_a_host_without_an_adapter_says_so_and_fusion_alone_makes_the_portrait(
    service: EasyPhoto, host: FakeHost, tmp_path: Path
) -> None:
    service.add_person("ada", photos_in(tmp_path))
    host.kinds = {}
    job = service.generate(PortraitRequest(("ada",), tuple(templates_in(tmp_path, 1)), QUICK))
    assert len(job.wait(60).portraits) == 1
    said = [event.message for _, event in job.events(follow=False) if isinstance(event, Notice)]
    assert any("no adapter for ip-adapter-face" in message for message in said)


def test_a_training_makes_them_a_person_like_any_other(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = acting_service(paths, monkeypatch)
    photos = photos_in(tmp_path)
    service.add_person("ada", photos)
    person = service.train(TrainRequest("ada", tuple(photos))).wait(60)
    assert person.trained and service.people.get("ada").trained


def test_who_is_refused_leaves_nothing_behind(service: EasyPhoto, paths: Paths, tmp_path: Path) -> None:
    photos = photos_in(tmp_path)
    pictures.save_png(tmp_path / "empty.png", blank(200, 200))
    with pytest.raises(NoFace, match="None of the photos"):
        service.add_person("ada", [tmp_path / "empty.png"])
    (tmp_path / "cut.jpg").write_bytes(photos[0].read_bytes()[:200])
    with pytest.raises(InvalidRequest, match="can be read"):
        service.add_person("ada", [tmp_path / "cut.jpg"])
    with pytest.raises(InvalidRequest, match="no photos"):
        service.add_person("ada", [])
    with pytest.raises(InvalidRequest, match="may not contain"):
        service.add_person("a/b", photos)
    assert not paths.people.exists() or not list(paths.people.iterdir())
    service.add_person("ada", photos)
    for again in ("ada", "ADA"):
        with pytest.raises(InvalidRequest, match="already a person 'ada'"):
            service.add_person(again, photos)


def test_a_lora_of_the_same_name_is_not_theirs(service: EasyPhoto, tmp_path: Path) -> None:
    service.add_person("ada", photos_in(tmp_path))
    pictures.write_bytes(service.people.lora("ada"), lora_file())
    assert not service.people.get("ada").trained
    service.delete_person("ada")
    assert service.people.lora("ada").is_file()
    with pytest.raises(NotFound):
        service.people.get("ada")


def test_two_people_one_of_them_trained_take_the_base_model_of_that_one(
    service: EasyPhoto, host: FakeHost, tmp_path: Path
) -> None:
    service.add_person("ada", photos_in(tmp_path))
    trained(service, "ann", who=60)
    accepted = service.accept(PortraitRequest(("ada", "ann"), (portrait_of(40),), QUICK))
    assert accepted.checkpoint.family is service.people.get("ann").family
