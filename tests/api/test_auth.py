"""Tests of who is let in."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from easyphoto.api import auth, routes
from easyphoto.service import EasyPhoto
from tests.serving import served

PEOPLE = "/easyphoto/v1/people"


def test_name_and_password(service: EasyPhoto) -> None:
    app = FastAPI()
    routes.mount(app, service, auth.basic({"ada": "pässword"}))
    with served(app) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get(PEOPLE).status_code == 401
        assert client.get(PEOPLE, auth=("ada", "wrong")).status_code == 401
        assert client.get(PEOPLE, auth=("eve", "pässword")).status_code == 401
        assert client.get(PEOPLE, auth=("ada", "pässword")).status_code == 200
    assert auth.basic({}) is None
