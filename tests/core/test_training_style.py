"""The way to train: which defaults it sets, that what else was chosen stays over them, and that every edge takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from easyphoto import families, pictures
from easyphoto.cli.main import main
from easyphoto.config import TRAIN_MODES, TRAINING_STYLES, Chosen, Family, Paths, TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.ports import Checkpoint
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.storage.folders import PersonFolder
from easyphoto.training import planning
from easyphoto.training.spec import TrainingSpec
from tests.acting import acting_service, photos_in
from tests.api.conftest import b64
from tests.fakes import FAKE_CHECKPOINT, FakeHost
from tests.serving import client_of
from tests.storage import somebody

QUICK, ORIGINAL = TRAINING_STYLES
DEMO = Checkpoint("demo", Path("demo.safetensors"), Family.BENCH)


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    """The demo model is its default; trainings are played."""
    service = acting_service(paths, monkeypatch)
    assert isinstance(service.host, FakeHost)
    service.host.available = (DEMO, FAKE_CHECKPOINT)
    return service


@pytest.fixture
def client(service: EasyPhoto) -> Iterator[httpx.Client]:
    with client_of(service) as client:
        yield client


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return photos_in(tmp_path / "photos", 3)


def trained_with(service: EasyPhoto, name: str = "ada") -> TrainConfig:
    """The options of a training that has ended, as they are on disk."""
    for job in service.jobs.list():
        job.wait(60)
    text = PersonFolder(service.paths.people / name).job.request.read_text(encoding="utf-8")
    return TrainingSpec.from_json(text).config


def decided(config: TrainConfig) -> tuple[object, ...]:
    """The options whose defaults the way to train decides for the demo model."""
    shared = (config.patience, config.face_weight, config.fusion)
    return *shared, config.learning_rate, config.max_train_steps, config.steps_per_photos


FAST, SLOW = (3, 3.0, "greedy", 4e-3, 120, 120), (0, 1.0, "average", 2e-3, 160, 160)


def test_what_the_original_does_otherwise_is_a_default() -> None:
    for spec in families.known():
        for scene in (False, True):
            quick, slow = (spec.train_config(scene=scene, training_style=style) for style in TRAINING_STYLES)
            assert quick == spec.train_config(scene=scene) and quick.training_style == QUICK
            assert (slow.patience, slow.face_weight, slow.fusion) == (0, 1.0, "average")
            assert slow.training_style == ORIGINAL
            same = {"resolution", "rank", "network_alpha", "train_batch_size", "train_mode_choose"}
            assert {name: getattr(quick, name) for name in same} == {name: getattr(slow, name) for name in same}
    demo = families.spec(Family.BENCH)
    assert (decided(demo.train_config()), decided(demo.train_config(training_style=ORIGINAL))) == (FAST, SLOW)
    full = families.spec(Family.SD1)
    steps = ("learning_rate", "max_train_steps", "steps_per_photos")
    slow, quick = full.train_config(training_style=ORIGINAL), full.train_config()
    assert [getattr(slow, name) for name in steps] == [getattr(quick, name) for name in steps]


def test_what_the_user_chose_stays(service: EasyPhoto) -> None:
    chosen = {"training_style": ORIGINAL, "patience": 2, "fusion": "greedy", "learning_rate": 1e-3}
    config = service.train_config(chosen)
    assert {name: getattr(config, name) for name in chosen} == chosen
    assert (config.face_weight, config.max_train_steps) == (1.0, 160)
    with pytest.raises(InvalidRequest, match="training_style must be one of quick, as the original, not 'slow'"):
        service.train_config({"training_style": "slow"})


def test_the_command_takes_it(service: EasyPhoto, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyphoto.cli.standalone.build", lambda *given: service)
    command = ["train", "ada", *map(str, photos)]
    assert main([*command, "--training-style", ORIGINAL, "--max-train-steps", "40"]) == 0
    assert decided(trained_with(service)) == (*SLOW[:4], 40, 160)
    assert main(command) == 0
    assert decided(trained_with(service)) == FAST


def test_the_typed_api_takes_it(service: EasyPhoto, client: httpx.Client, photos: list[Path]) -> None:
    body: dict[str, Any] = {"user_id": "ada", "photos": [b64(photo) for photo in photos]}
    for options, expected in (({}, FAST), ({"training_style": ORIGINAL, "patience": 3}, (3, *SLOW[1:]))):
        assert client.post("/easyphoto/v1/jobs/train", json={**body, "options": options}).status_code == 202
        assert decided(trained_with(service)) == expected
    wrong = client.post("/easyphoto/v1/jobs/train", json={**body, "options": {"training_style": "slow"}})
    assert wrong.status_code == 422 and "training_style" in wrong.json()["message"]


FORM = {
    d: getattr(TrainConfig(), d)
    for d in ("resolution", "max_train_steps", "steps_per_photos", "learning_rate", "rank", "network_alpha")
}
"""What a client of the original sends whole, whatever its user chose."""


@pytest.mark.parametrize("model", [DEMO, FAKE_CHECKPOINT])
def test_clients_of_the_original_get_the_usual_defaults_unless_they_ask(
    service: EasyPhoto, client: httpx.Client, photos: list[Path], model: Checkpoint
) -> None:
    usual = families.spec(model.family)
    sent = {"user_id": "ada", "instance_images": [b64(photo) for photo in photos], "sd_model_checkpoint": model.name}
    known = {"patience": 3, "fusion": "greedy", "face_weight": 1.0}  # one that sends every field of ours too
    for more, style in (
        ({}, QUICK),
        ({"training_style": QUICK}, QUICK),
        ({"training_style": ORIGINAL, **known}, ORIGINAL),
    ):
        answer = client.post(
            "/easyphoto/easyphoto_train_forward", content=json.dumps({**sent, **FORM, **more}).encode()
        )
        assert answer.json()["message"].startswith("The training has been completed.")
        config = trained_with(service)
        assert decided(config) == decided(usual.train_config(training_style=style)) and config.training_style == style


# --- a training that goes on -----------------------------------------------------------------------------------------


def began(paths: Paths, **options: Any) -> TrainingSpec:
    """An interrupted training of ann with these options over the defaults for SD1."""
    job = somebody.interrupted_job(paths)
    config = families.spec(Family.SD1).train_config(**options)
    spec = somebody.spec(
        paths, config=config, checkpoint=FAKE_CHECKPOINT.path.absolute(), photos=(job.photos / "0.jpg",)
    )
    pictures.write_bytes(job.request, spec.to_json().encode())
    pictures.write_bytes(job.state, b"3")  # played trainings go on behind this step
    return spec


def going_on(service: EasyPhoto, config: TrainConfig | None, chosen: Chosen = None) -> TrainConfig:
    """How ann's training goes on, asked for with all options of a form or with those that were ``chosen``."""
    service.train(TrainRequest("ann", (), config, resume=True, chosen=chosen))
    return trained_with(service, "ann")


@pytest.mark.parametrize("style", TRAINING_STYLES)
def test_a_training_that_goes_on_keeps_its_way(service: EasyPhoto, paths: Paths, style: str) -> None:
    before = began(paths, training_style=style, patience=7)
    spec = families.spec(Family.SD1)
    other = QUICK if style == ORIGINAL else ORIGINAL
    form = spec.train_config(sd_model_checkpoint="fake")
    for request, chosen in ((None, None), (form, frozenset[str]()), (form, None)):
        assert going_on(service, request, chosen) == before.config
    again = spec.train_config(training_style=style, fusion="best", sd_model_checkpoint="fake")
    named = frozenset({"training_style", "fusion"})
    assert going_on(service, again, named) == replace(before.config, fusion="best")
    assert going_on(service, replace(again, fusion="last")) == replace(before.config, fusion="last")
    with pytest.raises(InvalidRequest, match=f"training_style was {style} and is {other} now"):
        going_on(service, spec.train_config(training_style=other), frozenset({"training_style"}))


def test_the_way_alone_tells_no_two_trainings_apart(paths: Paths) -> None:
    """Its options do. So a training goes on that began before there was a choice."""
    before = began(paths)
    renamed = replace(before, config=replace(before.config, training_style=ORIGINAL))
    plans = [planning.make(spec, ("a", "b"), validated=True) for spec in (before, renamed)]
    assert plans[0].fingerprint == plans[1].fingerprint
    older = json.loads(before.to_json())
    del older["config"]["training_style"]
    assert TrainingSpec.from_json(json.dumps(older)) == before


# --- the face of a scene ---------------------------------------------------------------------------------------------


LEFT_OUT = "A scene counts all errors alike: face_weight 5 was left out."


@pytest.mark.parametrize(
    ("options", "chosen", "said"),
    [
        ({}, frozenset(), 0),
        ({}, None, 0),
        ({"face_weight": 1.0}, frozenset({"face_weight"}), 0),
        ({"face_weight": 5.0}, frozenset({"face_weight"}), 1),
        ({"face_weight": 5.0}, None, 1),
    ],
)
def test_a_weight_of_the_face_that_a_scene_ignores_is_said(
    service: EasyPhoto, photos: list[Path], options: dict[str, Any], chosen: frozenset[str] | None, said: int
) -> None:
    config = service.train_config({"train_mode_choose": TRAIN_MODES[1], **options})
    job = service.train(TrainRequest("hall", tuple(photos), config, chosen=chosen))
    job.wait(60)
    notices = [str(event.message) for _, event in job.events(follow=False) if event.kind == "notice"]
    assert notices.count(LEFT_OUT) == said and len([n for n in notices if "face_weight" in n]) == said


def test_the_weight_of_a_persons_face_is_no_news(service: EasyPhoto, photos: list[Path]) -> None:
    config = service.train_config({"face_weight": 5.0})
    job = service.train(TrainRequest("ada", tuple(photos), config, chosen=frozenset({"face_weight"})))
    job.wait(60)
    assert not [e for _, e in job.events(follow=False) if e.kind == "notice"]
