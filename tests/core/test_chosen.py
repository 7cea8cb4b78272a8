"""What a user chose travels as names from every edge to the plan: a value that was chosen stays, even the default's,
where a default that nobody chose gives way to what suits LCM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from easyphoto import pictures
from easyphoto.cli.main import main
from easyphoto.config import Paths, PortraitConfig
from easyphoto.events import Event, Notice
from easyphoto.inference.portrait import portray
from easyphoto.inference.recipe import CHUNK
from easyphoto.ports import Img2Img
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.storage import portraits
from tests.acting import acting_service, lora_file, templates_in, trained
from tests.api.conftest import b64
from tests.fakes import FakeHost, FakeVision
from tests.inference.studio import person, task, template
from tests.serving import client_of

LCM, USUAL = [(12, 0.5), (8, 0.3)], [(50, 0.45), (20, 0.3)]
"""(steps, strength) of both passes, where nobody chose them and where the defaults were chosen."""
STEPS = {"first_diffusion_steps": 50, "second_diffusion_steps": 20}
DEFAULTS: dict[str, Any] = {**STEPS, "first_denoising_strength": 0.45}


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    service = acting_service(paths, monkeypatch)
    trained(service, "ada")
    pictures.write_bytes(paths.loras / "lcm_lora_sd15.safetensors", lora_file())
    return service


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return templates_in(tmp_path / "templates", 1)[0]


@pytest.fixture
def client(service: EasyPhoto) -> Iterator[httpx.Client]:
    with client_of(service) as client:
        yield client


def passes(service: EasyPhoto) -> list[tuple[int, float]]:
    """(steps, strength) of the passes that the host was asked for, which are then forgotten."""
    host = service.host
    assert isinstance(host, FakeHost)
    asked = [(job.steps, job.denoising_strength) for job in host.jobs if isinstance(job, Img2Img)]
    host.jobs.clear()
    return asked


@pytest.mark.thorough
def test_names_decide_and_not_values(service: EasyPhoto, file: Path) -> None:
    config = PortraitConfig(lcm_accelerate=True)
    plain = PortraitRequest(("ada",), (file,), config)
    for chosen, expected in (
        (None, LCM),
        (frozenset(), LCM),
        (frozenset({"first_diffusion_steps"}), [(50, 0.5), (8, 0.3)]),
        (frozenset(DEFAULTS), USUAL),
    ):
        service.generate(replace(plain, chosen=chosen)).wait(60)
        assert passes(service) == expected
    service.generate(replace(plain, config=replace(config, first_diffusion_steps=6))).wait(60)
    assert passes(service) == [(6, 0.5), (8, 0.3)], "where nobody says, what isn't the default was chosen"


def test_a_portrait_is_made_again_with_what_was_chosen(service: EasyPhoto, file: Path) -> None:
    request = PortraitRequest(("ada",), (file,), PortraitConfig(lcm_accelerate=True), chosen=frozenset(DEFAULTS))
    path = service.generate(request).wait(60).portraits[0].path
    assert path is not None and passes(service) == USUAL
    assert "Steps: 50" in pictures.read_text(path)["parameters"]
    service.generate(service.replay(path, (file,), {})).wait(60)
    assert passes(service) == USUAL


def test_an_older_recipe_holds_as_chosen_what_is_not_the_default(service: EasyPhoto, file: Path) -> None:
    config = PortraitConfig(lcm_accelerate=True, second_diffusion_steps=5)
    portrait = service.generate(PortraitRequest(("ada",), (file,), config)).wait(60).portraits[0]
    assert portrait.path is not None and passes(service) == [(12, 0.5), (5, 0.3)]
    older = {name: value for name, value in portrait.recipe.items() if name != "chosen"}
    pictures.save_png(portrait.path, portrait.image, {CHUNK: json.dumps(older)})
    service.generate(service.replay(portrait.path, (file,), {})).wait(60)
    assert passes(service) == [(12, 0.5), (5, 0.3)]
    service.generate(service.replay(portrait.path, (file,), STEPS)).wait(60)
    assert passes(service) == [(50, 0.5), (20, 0.3)], "what is changed then is chosen too"


def test_flags_that_are_given_are_chosen(
    service: EasyPhoto, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("easyphoto.cli.standalone.build", lambda *given: service)
    command = ["generate", str(file), "--user", "ada", "--lcm-accelerate"]
    assert main(command) == 0
    assert passes(service) == LCM
    assert main([*command, "--first-diffusion-steps", "50"]) == 0
    assert passes(service) == [(50, 0.5), (8, 0.3)]
    (last, *_) = sorted(portraits.of(service.paths.portraits, "ada"), key=lambda p: -p.stat().st_mtime_ns)
    assert main(["generate", str(file), "--recipe", str(last), "--second-diffusion-steps", "20"]) == 0
    assert passes(service) == [(50, 0.5), (20, 0.3)]


def test_options_that_are_sent_are_chosen(service: EasyPhoto, client: httpx.Client, file: Path) -> None:
    for options, expected in (({}, LCM), (DEFAULTS, USUAL)):
        body = {"user_ids": ["ada"], "templates": [b64(file)], "options": {**options, "lcm_accelerate": True}}
        queued = client.post("/easyphoto/v1/jobs/portrait", json=body).json()
        service.jobs.get(queued["id"]).wait(60)
        assert passes(service) == expected


@pytest.mark.thorough
def test_the_form_that_the_originals_clients_send_whole_is_no_choice(
    service: EasyPhoto, client: httpx.Client, file: Path
) -> None:
    fields = {"user_ids": ["ada"], "init_image": b64(file), "lcm_accelerate": True, "sd_model_checkpoint": "fake"}
    for more, expected in (({}, LCM), (DEFAULTS, LCM), ({**DEFAULTS, "first_diffusion_steps": 6}, [(6, 0.5), LCM[1]])):
        client.post("/easyphoto/easyphoto_infer_forward", content=json.dumps({**fields, **more}).encode())
        assert [steps for steps, _ in passes(service)] == [steps for steps, _ in expected]


class Lacking(FakeVision):
    """Has none of what it is asked to prefer."""

    def preferring(self, backends: Any) -> Lacking:
        return self


def test_a_default_that_was_chosen_and_is_not_here_is_told(tmp_path: Path) -> None:
    asked = task((template(10),), person(tmp_path), config=PortraitConfig(seed=7, fusion_only=True))
    for chosen, count in ((None, 0), (frozenset(), 0), (frozenset({"super_resolution_method"}), 1)):
        events: list[Event] = []
        list(portray(replace(asked, chosen=chosen), FakeHost(), Lacking(), events.append))
        said = [event.message for event in events if isinstance(event, Notice)]
        assert sum("is not here" in sentence for sentence in said) == count
