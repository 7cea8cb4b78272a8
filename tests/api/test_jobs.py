"""Tests of the typed routes: jobs are made, followed, cancelled and fetched, and no answer shows a path of the
server."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, HTTPException
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.api import routes, wire
from easyphoto.config import PortraitConfig, TrainConfig, declared
from easyphoto.errors import InvalidRequest
from easyphoto.ports import Txt2Img
from easyphoto.service import EasyPhoto
from easyphoto.storage.portraits import CHUNK
from tests.acting import STEPS, trained
from tests.fakes import FakeHost
from tests.serving import served

V1 = "/easyphoto/v1"


def finish(service: EasyPhoto, answer: Any) -> str:
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    service.jobs.get(job_id).wait(60)
    return job_id


def follow(client: httpx.Client, job_id: str, **headers: str) -> list[dict[str, Any]]:
    """The server-sent events of a job as dictionaries with their ``id``."""
    text = client.get(f"{V1}/jobs/{job_id}/events", headers=headers).text
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append({**json.loads(lines["data"]), "id": int(lines["id"])})
            assert lines["event"] == found[-1]["kind"]
    return found


@pytest.mark.thorough
def test_train_follow_and_portray(
    client: httpx.Client, service: EasyPhoto, photos: list[str], templates: list[str]
) -> None:
    job_id = finish(service, client.post(f"{V1}/jobs/train", json={"user_id": "小美", "photos": photos}))

    events = follow(client, job_id)
    assert [e["id"] for e in events] == list(range(1, len(events) + 1))
    assert events[-1]["kind"] == "finished" and events[-1]["result"]["works"] is True
    losses = [e["loss"] for e in events if e["kind"] == "progress" and e["stage"] == "train"]
    assert len(losses) == STEPS
    pictures = [n for e in events for n in e.get("pictures", ())]
    assert pictures == [0, 1, 2]

    resumed = follow(client, job_id, **{"Last-Event-ID": str(events[-4]["id"])})
    assert resumed == events[-3:], "a listener that comes back gets what it missed, with the same numbers"

    shown = client.get(f"{V1}/people").json()
    assert [(p["user_id"], p["family"], p["works"]) for p in shown] == [("小美", "sd1", True)]

    body = {"user_ids": ["小美"], "templates": templates, "options": {"seed": 5, "batch_size": 2}}
    job_id = finish(service, client.post(f"{V1}/jobs/portrait", json=body))
    job = client.get(f"{V1}/jobs/{job_id}").json()
    assert job["state"] == "finished" and job["seed"] == 5
    assert [(p["template"], p["seed"]) for p in job["portraits"]] == [(0, 5), (0, 6), (1, 5), (1, 6)]
    assert all(0.5 < p["likeness"][0]["score"] <= 1.01 for p in job["portraits"])
    picture = client.get(f"{V1}/jobs/{job_id}/pictures/{job['portraits'][1]['picture']}")
    assert picture.headers["content-type"] == "image/png"
    assert Pillow.open(io.BytesIO(picture.content)).size == (384, 384)


@pytest.mark.thorough
def test_nothing_tells_where_the_server_keeps_its_files(
    client: httpx.Client, service: EasyPhoto, photos: list[str], templates: list[str]
) -> None:
    train = finish(service, client.post(f"{V1}/jobs/train", json={"user_id": "a b", "photos": photos}))
    body = {"user_ids": ["a b"], "templates": [*templates, wire.base64.b64encode(b"no picture").decode()]}
    portrait = finish(service, client.post(f"{V1}/jobs/portrait", json=body))
    root = str(service.paths.outputs.parent)
    said = [client.get(V1 + path).text for path in ("/jobs", "/people", "/people/a b", "/templates", "/status")]
    said += [client.get(f"{V1}/jobs/{job}/events").text for job in (train, portrait)]
    for text in said:
        for form in (root, json.dumps(root)[1:-1]):
            assert form not in text
    assert len(client.get(f"{V1}/jobs/{portrait}").json()["failures"]) == 1, "the broken template failed alone"


@pytest.mark.thorough
def test_a_second_job_waits_and_both_can_be_cancelled(
    client: httpx.Client, service: EasyPhoto, templates: list[str]
) -> None:
    trained(service, "ada")
    begun, go_on = threading.Event(), threading.Event()

    def hold(job: Txt2Img) -> None:
        begun.set()
        go_on.wait(60)

    host: FakeHost = service.host  # type: ignore[assignment]
    host.before = hold
    body = {"user_ids": ["ada"], "templates": templates}
    first, second, third = (client.post(f"{V1}/jobs/portrait", json=body).json() for _ in range(3))
    assert begun.wait(60)
    assert [client.get(f"{V1}/jobs/{j['id']}").json()["position"] for j in (first, second, third)] == [0, 1, 2]
    assert client.delete(f"{V1}/jobs/{third['id']}").status_code == 200
    assert client.delete(f"{V1}/jobs/{first['id']}").status_code == 200
    host.before = None
    go_on.set()
    assert len(service.jobs.get(second["id"]).wait(60).portraits) == 2
    events = follow(client, third["id"])
    assert events[0] == {**events[0], "kind": "queued", "position": 2}
    assert events[-1]["code"] == "cancelled"
    states = [client.get(f"{V1}/jobs/{j['id']}").json() for j in (first, second, third)]
    assert [s["state"] for s in states] == ["cancelled", "finished", "cancelled"]
    assert states[0]["error"]["code"] == "cancelled"


def test_a_listener_sees_events_while_the_job_runs(client: httpx.Client, service: EasyPhoto) -> None:
    """Followed from another thread through an app that streams: the events come before the end."""
    from easyphoto.events import Finished, Notice
    from easyphoto.jobs import Job

    go_on = threading.Event()

    def work(job: Job[None]) -> None:
        job.emit(Notice(message="first"))
        go_on.wait(60)
        job.emit(Finished())

    job = service.jobs.submit("train", "x", work)
    timer = threading.Timer(0.7, go_on.set)
    timer.start()
    assert [e["kind"] for e in follow(client, job.id)] == ["notice", "finished"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("train", {"user_id": "../x", "photos": []}, 422, "invalid_request", "user id"),
        ("train", {"user_id": "x", "photos": []}, 422, "invalid_request", "no photos"),
        ("train", {"user_id": "x", "photos": ["%%%"]}, 422, "invalid_request", "base64"),
        ("train", {"user_id": "x", "photos": ["AAAA"] * 101}, 422, "invalid_request", "at most 100"),
        ("train", {"user_id": "x", "photos": ["AAAA"], "options": {"rank": 0}}, 422, "invalid_request", "rank"),
        ("train", {"user_id": "x", "photos": ["AAAA"], "options": {"rnak": 8}}, 422, "invalid_request", "rnak"),
        ("train", {"user_id": "x", "photos": ["AAAA"], "options": {"rank": "8"}}, 422, "invalid_request", "rank"),
        ("portrait", {"user_ids": ["nobody"], "templates": ["AAAA"]}, 404, "not_found", "nobody"),
        ("portrait", {"user_ids": ["none"], "templates": ["AAAA"]}, 422, "invalid_request", "Nobody"),
        ("portrait", {"user_ids": ["../.."], "templates": ["AAAA"]}, 422, "invalid_request", "user id"),
        ("portrait", {"user_ids": ["x"] * 21, "templates": ["AAAA"]}, 422, "invalid_request", "at most 20"),
        ("portrait", {"user_ids": ["x"], "presets": ["../../etc/passwd"]}, 404, "not_found", "template"),
    ],
)
def test_errors_have_a_code_and_a_sentence(
    client: httpx.Client, path: str, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    answer = client.post(f"{V1}/jobs/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["jobs/nothing", "jobs/nothing/events", "jobs/nothing/pictures/0", "people/nobody", "people/%2e%2e%5cx"]
)
def test_what_is_not_there(client: httpx.Client, path: str) -> None:
    answer = client.get(f"{V1}/{path}")
    assert answer.status_code in (404, 422)
    assert set(answer.json()) == {"code", "message"}


def test_a_body_that_never_ends_is_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_BODY", 1000)
    answer = client.post(f"{V1}/jobs/train", json={"user_id": "x", "photos": ["A" * 2000]})
    assert answer.status_code == 413 and answer.json()["code"] == "invalid_request"


def test_a_picture_that_would_fill_the_memory_is_refused_in_words(client: httpx.Client, service: EasyPhoto) -> None:
    trained(service, "ada")
    buffer = io.BytesIO()
    Pillow.fromarray(np.zeros((12000, 12000), np.uint8)).save(buffer, "PNG")
    body = {"user_ids": ["ada"], "templates": [wire.base64.b64encode(buffer.getvalue()).decode()]}
    job_id = client.post(f"{V1}/jobs/portrait", json=body).json()["id"]
    with pytest.raises(InvalidRequest, match="144 million pixels"):
        service.jobs.get(job_id).wait(60)
    job = client.get(f"{V1}/jobs/{job_id}").json()
    assert job["state"] == "failed" and job["error"]["code"] == "invalid_request"
    assert "144 million pixels" in job["failures"][0]["message"] and "144 million pixels" in job["error"]["message"]


def test_delete_a_person(client: httpx.Client, service: EasyPhoto) -> None:
    trained(service, "ada")
    picture = service.paths.portraits / "one.png"
    pictures.save_png(picture, np.zeros((8, 8, 3), np.uint8), {CHUNK: json.dumps({"user_ids": ["ada"]})})
    answer = client.delete(f"{V1}/people/ada")
    assert answer.status_code == 200
    told = answer.json()
    assert told["files"] >= 5 and told["bytes"] > 1000 and told["message"].startswith("ada was deleted: ")
    assert (told["portraits"], told["portraits_left"], picture.exists()) == ([], ["one.png"], True)
    assert client.get(f"{V1}/people").json() == []
    assert client.delete(f"{V1}/people/ada").status_code == 404
    assert not service.people.folder("ada").exists()


def test_nobody_is_deleted_whose_portrait_is_made(
    client: httpx.Client, service: EasyPhoto, templates: list[str]
) -> None:
    trained(service, "ada")
    goes_on = threading.Event()
    service.jobs.submit("generate", "another's", lambda job: goes_on.wait(60))
    body = {"user_ids": ["ada"], "templates": templates}
    job_id = client.post(f"{V1}/jobs/portrait", json=body).json()["id"]
    answer = client.delete(f"{V1}/people/ada")
    assert answer.status_code == 422 and "Portraits of 'ada' are being made" in answer.json()["message"]
    goes_on.set()
    service.jobs.get(job_id).wait(60)
    assert client.delete(f"{V1}/people/ada?portraits=true").json()["portraits"]
    assert list(service.paths.portraits.glob("*.png")) == []


def test_status_tells_base_models_and_what_is_missing(client: httpx.Client) -> None:
    status = client.get(f"{V1}/status").json()
    assert status["checkpoints"] == [{"name": "fake", "family": "sd1"}]
    assert {f["area"] for f in status["findings"]} >= {"machine", "host", "vision", "people"}


def test_every_route_asks_for_the_hosts_credentials(service: EasyPhoto) -> None:
    def refuse() -> None:
        raise HTTPException(401, "Who are you?")

    app = FastAPI()
    routes.mount(app, service, authenticate=refuse)
    with served(app) as address, httpx.Client(base_url=address, trust_env=False) as client:
        calls: list[tuple[Callable[..., Any], str]] = [(client.get, f"{V1}/{p}") for p in ("people", "jobs", "status")]
        calls += [(client.post, f"/easyphoto/easyphoto_{k}_forward") for k in ("train", "infer", "video_infer")]
        calls += [(client.delete, f"{V1}/people/x"), (client.get, f"{V1}/jobs/x/events")]
        assert {call(path).status_code for call, path in calls} == {401}


def test_the_payload_has_every_declared_parameter_with_its_default_and_range(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for name, config in (("TrainOptions", TrainConfig), ("PortraitOptions", PortraitConfig)):
        properties = schemas[name]["properties"]
        assert list(properties) == [d.name for d in declared(config)]
        for d in declared(config):
            shown = properties[d.name]
            assert shown.get("default") == d.default
            assert shown.get("minimum") == d.param.minimum and shown.get("maximum") == d.param.maximum
            ways = shown.get("anyOf", [shown])  # a choice that is also taken by its number
            assert [tuple(way["enum"]) for way in ways if "enum" in way] == [d.param.choices] * bool(d.param.choices)
