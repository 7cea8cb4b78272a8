"""Adding a person over HTTP without a training."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.acting import photos_in
from tests.api.conftest import b64

PEOPLE = "/easyphoto/v1/people"


def test_a_person_is_added_from_photos(client: httpx.Client, tmp_path: Path) -> None:
    photos = [b64(path) for path in photos_in(tmp_path, 2)]
    answer = client.post(PEOPLE, json={"user_id": "ada", "photos": photos})
    assert (answer.status_code, answer.json()["trained"], answer.json()["fault"]) == (200, False, "")
    assert client.get(f"{PEOPLE}/ada").json() == answer.json()
    again = client.post(PEOPLE, json={"user_id": "ada", "photos": photos})
    assert again.status_code == 422 and "already a person" in again.json()["message"]
    assert client.post(PEOPLE, json={"user_id": "bob", "photos": []}).status_code == 422
    assert client.delete(f"{PEOPLE}/ada").status_code == 200
