"""A whole table over HTTP: refused with every fault, made as one job, and told row by row."""

from __future__ import annotations

import httpx
import pytest

from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.api.conftest import ended

V1 = "/easyphoto/v1"
QUICK = {"first_diffusion_steps": 1, "second_diffusion_steps": 1}


@pytest.fixture(autouse=True)
def _somebody(service: EasyPhoto) -> None:
    trained(service, "ada")


def test_a_table_is_made_and_told_row_by_row(client: httpx.Client, templates: list[str]) -> None:
    table = "user,template,first_diffusion_steps,second_diffusion_steps,output\nada,mine.png,1,1,a\nada,yours,1,1,\n"
    payload = {"table": table, "templates": {"mine.png": templates[0], "yours": templates[1]}, "name": "../../evil"}
    forecast = client.post(f"{V1}/batches/forecast", json=payload)
    assert forecast.status_code == 200, forecast.text
    assert (forecast.json()["total"], forecast.json()["missing"], forecast.json()["seconds"]) == (2, 2, None)
    taken = client.post(f"{V1}/jobs/batch", json=payload)
    assert taken.status_code == 202, taken.text
    job = ended(client, taken.json()["id"])
    assert (job["what"], job["state"], job["pictures"]) == ("batch", "finished", 2)
    first, second = job["rows"]
    assert (first["line"], first["output"], first["state"], first["picture"]) == (2, "a", "made", 0)
    assert (second["line"], second["template"], second["state"]) == (3, "yours", "made")
    assert all(0 <= score <= 1 for score in first["likeness"])
    picture = client.get(f"{V1}/jobs/{job['id']}/pictures/0")
    assert picture.status_code == 200 and picture.headers["content-type"] == "image/png"

    again = ended(client, client.post(f"{V1}/jobs/batch", json=payload).json()["id"])
    assert [row["state"] for row in again["rows"]] == ["there", "there"]  # type: ignore[attr-defined]
    assert client.get(f"{V1}/jobs/{again['id']}/pictures/1").status_code == 200


def test_rows_as_data(client: httpx.Client) -> None:
    rows = [{"user_ids": ["ada"], "preset": "grace-hopper", "seed": n, "fusion_only": True} for n in (1, 2)]
    job = ended(client, client.post(f"{V1}/jobs/batch", json={"rows": rows}).json()["id"])
    assert job["state"] == "finished" and len(job["rows"]) == 2  # type: ignore[arg-type]


def test_every_fault_of_every_row_is_told(client: httpx.Client, service: EasyPhoto) -> None:
    rows = [{"user": "nobody", "template": "grace-hopper"}, {"user": "ada", "template": "/etc/passwd", "seed": "x"}]
    refused = client.post(f"{V1}/jobs/batch", json={"rows": rows})
    assert refused.status_code == 422
    assert refused.json() == {
        "code": "invalid_request",
        "message": "Nothing was begun; wrong rows in batch: 2.",
        "faults": [
            {"line": 1, "message": "There is no trained person 'nobody': train one or check the name."},
            {"line": 2, "message": "There is no template 'passwd'."},
            {"line": 2, "message": "seed must be a whole number, not 'x'."},
        ],
    }
    assert not service.jobs.list()


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "Give the rows of the batch, or its table as a text."),
        ({"rows": [{"user": "ada"}], "table": "user\nada"}, "Give the rows of the batch, or its table as a text."),
        ({"table": "a: b", "format": "yaml"}, "batch is no list of rows: begin each row with a hyphen."),
        ({"table": "user\n", "name": "x"}, "There are no rows in x."),
        ({"rows": [{"user": "ada"}], "templates": {"a": "?"}}, "Picture 'a' is not valid base64."),
    ],
)
def test_what_is_no_batch_is_one_sentence(client: httpx.Client, payload: dict[str, object], sentence: str) -> None:
    refused = client.post(f"{V1}/jobs/batch", json=payload)
    assert (refused.status_code, refused.json()["message"]) == (422, sentence)
