"""Who is let in."""

from __future__ import annotations

import httpx
from fastapi import Depends, FastAPI

from easyphoto.api import auth, routes
from easyphoto.service import EasyPhoto
from tests.serving import served

PEOPLE, TRAIN = "/easyphoto/v1/people", "/easyphoto/easyphoto_train_forward"


def test_name_and_password(service: EasyPhoto) -> None:
    app = FastAPI()
    routes.mount(app, service, auth.basic({"ada": "pässword"}))
    with served(app) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get(PEOPLE).status_code == 401
        assert client.get(PEOPLE, auth=("ada", "wrong")).status_code == 401
        assert client.get(PEOPLE, auth=("eve", "pässword")).status_code == 401
        assert client.get(PEOPLE, auth=("ada", "pässword")).status_code == 200
    assert auth.basic({}) is None


def test_another_web_site_can_not_use_a_visitors_browser(service: EasyPhoto) -> None:
    app = FastAPI(dependencies=[Depends(auth.same_site)])
    routes.mount(app, service)
    with served(app) as address, httpx.Client(base_url=address, trust_env=False) as client:
        body, other = b'{"user_id": "x"}', {"Sec-Fetch-Site": "cross-site"}
        assert client.post(TRAIN, content=body, headers=other).status_code == 403
        assert client.post(TRAIN, content=body, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
        assert client.post(TRAIN, content=body).status_code == 200
