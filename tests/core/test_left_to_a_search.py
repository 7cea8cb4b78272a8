"""A weight that is left to a search comes from every edge as the word ``auto``, and from the tabs as a tick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from easyphoto.cli.main import main
from easyphoto.config import Paths, PortraitConfig, from_mapping
from easyphoto.errors import InvalidRequest
from easyphoto.inference import plan
from easyphoto.ports import Img2Img
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.storage import portraits
from easyphoto.ui.generate_tab import GROUPS
from tests.acting import acting_service, templates_in, trained
from tests.api.conftest import b64
from tests.batch.asking import run, sentences
from tests.fakes import FakeHost
from tests.serving import client_of

TRIED = list(plan.TRIED["lora_weights"])
BRIEF: dict[str, Any] = {"seed": 5, "enable_second_diffusion": False, "first_diffusion_steps": 1}
FLAGS = ["--seed", "5", "--no-enable-second-diffusion", "--first-diffusion-steps", "1"]


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    service = acting_service(paths, monkeypatch)
    trained(service, "ada")
    monkeypatch.setattr("easyphoto.inference.best_of.Attempt.reaches", lambda *_: False)
    return service


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return templates_in(tmp_path / "templates", 1)[0]


@pytest.fixture
def client(service: EasyPhoto) -> Iterator[httpx.Client]:
    with client_of(service) as client:
        yield client


def tried(service: EasyPhoto) -> list[float]:
    """The weights of the LoRA that the host was asked for, which are then forgotten."""
    assert isinstance(service.host, FakeHost)
    asked = [job.loras[0].weight for job in service.host.jobs if isinstance(job, Img2Img)]
    service.host.jobs.clear()
    return asked


def test_the_word_is_taken_for_a_weight_that_can_be_searched_and_for_no_other() -> None:
    found = from_mapping(PortraitConfig, {"lora_weights": "auto", "ipa_weight": "auto"})
    assert (found.lora_weights_auto, found.ipa_weight_auto) == (True, True)
    assert (found.lora_weights, found.ipa_weight) == (0.9, 0.3)
    for name in ("ipa_only_weight", "seed", "before_face_fusion_ratio"):
        with pytest.raises(InvalidRequest, match=f"{name} must be a"):
            from_mapping(PortraitConfig, {name: "auto"})
    assert (
        "lora_weights_auto" in GROUPS["Strength of the person"] and "ipa_weight_auto" in GROUPS["Identity from photos"]
    )


@pytest.mark.thorough
def test_the_command_searches_and_a_recipe_of_it_does_not(
    service: EasyPhoto, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("easyphoto.cli.standalone.build", lambda *given: service)
    assert main(["generate", str(file), "--user", "ada", "--lora-weights", "auto", *FLAGS]) == 0
    assert tried(service) == TRIED
    (made,) = portraits.of(service.paths.portraits, "ada")
    kept = portraits.recipe_in(made)
    assert kept is not None
    assert main(["generate", str(file), "--recipe", str(made)]) == 0
    assert tried(service) == [kept["config"]["lora_weights"]]
    service.generate(service.replay(made, (file,), {"lora_weights": "auto"})).wait(60)
    assert tried(service) == TRIED
    capsys.readouterr()
    for wrong in (["--lora-weights", "automatic"], ["--ipa-only-weight", "auto"]):
        with pytest.raises(SystemExit):
            main(["generate", str(file), "--user", "ada", *wrong])
    assert "--lora-weights must be a number from 0 to 1.3, not 'automatic'." in capsys.readouterr().err


@pytest.mark.thorough
def test_the_typed_route_searches_and_the_originals_only_where_it_is_told_to(
    service: EasyPhoto, client: httpx.Client, file: Path
) -> None:
    body = {"user_ids": ["ada"], "templates": [b64(file)], "options": {**BRIEF, "lora_weights": "auto"}}
    queued = client.post("/easyphoto/v1/jobs/portrait", json=body).json()
    service.jobs.get(queued["id"]).wait(60)
    assert tried(service) == TRIED
    for value in (7, "much"):
        refused = client.post("/easyphoto/v1/jobs/portrait", json={**body, "options": {"lora_weights": value}})
        assert refused.status_code == 422 and refused.json()["message"].startswith("options.lora_weights: input"), (
            refused
        )
    fields = {"user_ids": ["ada"], "init_image": b64(file), "sd_model_checkpoint": "fake", **BRIEF}
    client.post("/easyphoto/easyphoto_infer_forward", json=fields)
    assert tried(service) == [0.9]
    client.post("/easyphoto/easyphoto_infer_forward", json={**fields, "lora_weights": "auto"})
    assert tried(service) == TRIED


@pytest.mark.thorough
def test_a_table_searches_and_a_second_run_of_it_makes_nothing(service: EasyPhoto, tmp_path: Path, file: Path) -> None:
    table = tmp_path / "orders.csv"
    table.write_text(
        "user,template,seed,lora_weights,enable_second_diffusion,first_diffusion_steps\n"
        f"ada,{file},5,Auto,no,1\nada,{file},5,0.9,no,1\n"
    )
    assert run(service, table).count("made") == 2
    assert tried(service) == [*TRIED, 0.9]
    assert run(service, table).count("there") == 2 and not tried(service)
    table.write_text(f"user,template,ipa_only_weight\nada,{file},auto\n")
    assert sentences(service, table) == ["Line 2: ipa_only_weight must be a number, not 'auto'."]


@pytest.mark.thorough
def test_a_tick_searches(service: EasyPhoto, file: Path) -> None:
    service.generate(PortraitRequest(("ada",), (file,), PortraitConfig(lora_weights_auto=True, **BRIEF))).wait(60)
    assert tried(service) == TRIED
