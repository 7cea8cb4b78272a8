"""The queue over HTTP: what waits in which order, pause, retry, clear, and deleting somebody who waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.looking import contents
from tests.waiting import until

V1 = "/easyphoto/v1"


@pytest.fixture
def ask(client: httpx.Client, service: EasyPhoto, templates: list[str]) -> Callable[..., str]:
    trained(service, "ada")
    trained(service, "bob")

    def portrait(user: str = "ada", **more: Any) -> str:
        answer = client.post(f"{V1}/jobs/portrait", json={"user_ids": [user], "templates": templates, **more})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    return portrait


@pytest.mark.thorough
def test_pause_move_resume(client: httpx.Client, service: EasyPhoto, ask: Callable[..., str]) -> None:
    assert client.post(f"{V1}/queue/pause").json()["paused"]
    jobs = [ask() for _ in range(3)]
    told = client.get(f"{V1}/queue").json()
    assert (told["waiting"], told["running"], told["ended"], told["limit"]) == (jobs, [], [], 50)
    assert client.post(f"{V1}/jobs/{jobs[2]}/move", json={"place": 0}).json()["id"] == jobs[2]
    assert client.get(f"{V1}/queue").json()["waiting"] == [jobs[2], jobs[0], jobs[1]]
    for body, status in (({"place": -1}, 422), ({"place": "first"}, 422), ({}, 200)):
        assert client.post(f"{V1}/jobs/{jobs[1]}/move", json=body).status_code == status
    assert client.post(f"{V1}/jobs/nothing/move", json={}).status_code == 404
    assert not client.post(f"{V1}/queue/resume").json()["paused"]
    for job in jobs:
        service.jobs.get(job).wait(60)
    ended = client.get(f"{V1}/queue").json()
    assert set(ended["ended"]) == set(jobs) and ended["waiting"] == []
    assert client.post(f"{V1}/jobs/{jobs[0]}/move", json={}).json()["code"] == "invalid_request"
    assert client.post(f"{V1}/queue/clear").json()["ended"] == [] and client.get(f"{V1}/jobs").json() == []


def test_a_cancelled_job_is_retried_with_its_templates(
    client: httpx.Client, service: EasyPhoto, ask: Callable[..., str]
) -> None:
    client.post(f"{V1}/queue/pause")
    job = ask()
    assert client.post(f"{V1}/jobs/{job}/retry").status_code == 422, "it waits"
    cancelled = client.delete(f"{V1}/jobs/{job}").json()
    assert cancelled["state"] == "cancelled" and cancelled["can_be_retried"] and cancelled["cut_off"] == 0
    assert client.post(f"{V1}/jobs/{job}/retry").status_code == 202
    assert client.get(f"{V1}/jobs/{job}").json()["state"] == "queued"
    client.post(f"{V1}/queue/resume")
    assert len(service.jobs.get(job).wait(60).portraits) == 2
    done = client.get(f"{V1}/jobs/{job}").json()
    assert len(done["portraits"]) == 2 and done["error"] is None and not done["can_be_retried"]


def test_deleting_somebody_takes_what_waits_with_them(
    client: httpx.Client, service: EasyPhoto, ask: Callable[..., str]
) -> None:
    person = "ada-lovelace"  # a name that the random letters of a job's id cannot spell
    trained(service, person)
    first = ask(person)
    service.jobs.get(first).wait(60)
    client.post(f"{V1}/queue/pause")
    waits, others = ask(person), ask("bob")
    assert client.delete(f"{V1}/people/{person}").status_code == 200
    assert [job["id"] for job in client.get(f"{V1}/jobs").json()] == [others]
    assert client.get(f"{V1}/jobs/{waits}").status_code == client.get(f"{V1}/jobs/{first}").status_code == 404
    left = [path for path, content in contents(service.paths.queue).items() if person.encode() in content]
    assert left == [] and len(list((service.paths.queue / "pictures").iterdir())) == 1


def test_the_queue_says_who_works(client: httpx.Client, service: EasyPhoto) -> None:
    goes_on = threading.Event()

    def work(job: Job[None]) -> None:
        goes_on.wait(60)

    job = service.jobs.submit("train", "x", work)
    until(lambda: job.state == "running")
    worker = client.get(f"{V1}/queue").json()["worker"]
    assert worker["here"] and worker["pid"] > 0 and worker["host"]
    goes_on.set()
    job.wait(60)
