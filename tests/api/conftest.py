"""The API on the real service, with a fake host, a fake vision and a trainer that only pretends to train."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from easyphoto.api import routes
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from tests.acting import acting_service, photos_in, templates_in
from tests.serving import served


def b64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    """The job when it has come to its end."""
    with client.stream("GET", f"/easyphoto/v1/jobs/{job}/events") as events:
        for _ in events.iter_lines():
            pass
    found: dict[str, Any] = client.get(f"/easyphoto/v1/jobs/{job}").json()
    return found


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    return acting_service(paths, monkeypatch)


@pytest.fixture
def app(service: EasyPhoto) -> FastAPI:
    app = FastAPI(title="EasyPhoto")
    routes.mount(app, service)
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with served(app) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Five photos of one person in base64."""
    return [b64(p) for p in photos_in(tmp_path / "photos")]


@pytest.fixture
def templates(tmp_path: Path) -> list[str]:
    """Two templates in base64."""
    return [b64(p) for p in templates_in(tmp_path / "templates")]
