"""Tests of weights over HTTP: what features need, what is there, and a download that can be followed and cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from easyphoto.config import Paths
from easyphoto.service import EasyPhoto, Preferences
from tests.acting import acting_service
from tests.catalog.little import little
from tests.catalog.server import Answer, Mirror, serve
from tests.waiting import until

V1 = "/easyphoto/v1"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serve() as mirror:
        yield mirror


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch, mirror: Mirror) -> EasyPhoto:
    service = acting_service(paths, monkeypatch)
    service.weights.catalog = little(mirror)
    return service


def ended(client: httpx.Client, payload: Any) -> Any:
    answer = client.post(f"{V1}/jobs/models", json=payload)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    client.get(f"{V1}/jobs/{job}/events")
    return client.get(f"{V1}/jobs/{job}").json()


def test_from_what_is_missing_to_what_is_there(client: httpx.Client, service: EasyPhoto) -> None:
    (free, both) = client.get(f"{V1}/models").json()
    assert (free["name"], free["files"], free["there"], free["bytes"], free["complete"]) == (
        "free",
        1,
        0,
        60_000,
        False,
    )
    assert (both["bytes"], both["commercial"]) == (120_000, False)
    job = ended(client, {"features": ["both"]})
    assert (job["what"], job["state"], job["progress"]["step"]) == ("models", "finished", 120_000)
    detail = client.get(f"{V1}/models/both").json()
    assert detail["complete"] and detail["bytes"] == 0 and not detail["commercial_only"]
    assert [(w["state"], w["found_by"], w["licence"]) for w in detail["weights"]] == [
        ("there", "name", "MIT"),
        ("there", "name", "GPEN: academic and non-commercial"),
    ]
    assert str(service.paths.models) not in client.get(f"{V1}/models/both").text
    assert (service.paths.models / "paid-net.onnx").is_file()


def test_commercial_use_only_is_kept_to(client: httpx.Client, service: EasyPhoto) -> None:
    service.preferences = lambda: Preferences(commercial_only=True)
    detail = client.get(f"{V1}/models/both").json()
    assert [w["state"] for w in detail["weights"]] == ["missing", "left out"] and detail["commercial_only"]
    assert ended(client, {"features": ["both"]})["state"] == "finished"
    assert not (service.paths.models / "paid-net.onnx").exists()


def test_what_goes_wrong_is_said(client: httpx.Client, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get(f"{V1}/models/magic").status_code == 404
    assert client.post(f"{V1}/jobs/models", json={"features": ["magic"]}).json()["code"] == "not_found"
    assert "Nothing was chosen" in client.post(f"{V1}/jobs/models", json={"features": []}).json()["message"]
    mirror.files.clear()
    job = ended(client, {"features": ["free"]})
    assert job["state"] == "failed" and job["error"]["code"] == "asset_missing"
    assert "answered 404" in job["error"]["message"]
    monkeypatch.setenv("EASYPHOTO_OFFLINE", "1")
    assert client.get(f"{V1}/models/free").json()["offline"]
    assert ended(client, {"features": ["free"]})["error"]["message"].startswith("Offline, and 1 files are missing")


@pytest.mark.thorough
def test_a_download_can_be_cancelled_and_keeps_nobody_waiting(
    client: httpx.Client, service: EasyPhoto, mirror: Mirror
) -> None:
    mirror.answers["/free-net.onnx"] = [Answer(pause=0.2)]
    job = client.post(f"{V1}/jobs/models", json={"features": ["free"]}).json()["id"]
    until(lambda: service.jobs.get(job).state == "running")
    portrait = service.jobs.submit("generate", "ada", lambda _: None)
    portrait.wait(60)
    assert service.jobs.get(job).state == "running" and client.get(f"{V1}/status").json()["running"] is None
    client.delete(f"{V1}/jobs/{job}")
    until(lambda: service.jobs.get(job).ended)
    assert service.jobs.get(job).state == "cancelled"
    assert not (service.paths.models / "free-net.onnx").exists()


@pytest.mark.thorough
def test_new_weights_are_looked_for_before_the_next_portrait(service: EasyPhoto, tmp_path: Path) -> None:
    from easyphoto.config import PortraitConfig
    from easyphoto.service import PortraitRequest
    from tests.acting import templates_in, trained

    trained(service, "ada")
    request = PortraitRequest(("ada",), tuple(templates_in(tmp_path, 1)), PortraitConfig(seed=1))
    service.generate(request).wait(60)
    assert service.vision.released == 0  # type: ignore[attr-defined]
    assert service.weights.fetch(["free"]).wait(60) == ["free-net.onnx"]
    service.generate(request).wait(60)
    service.generate(request).wait(60)
    assert service.vision.released == 1  # type: ignore[attr-defined]
    assert service.weights.fetch(["free"]).wait(60) == []
