"""Tests with calls made at random: the answer is always one of ours, and nothing is written outside the data folder."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from easyphoto.api import routes
from easyphoto.config import Paths, PortraitConfig, TrainConfig, declared
from easyphoto.service import EasyPhoto
from tests.acting import acting_service, trained

V1, OLD = "/easyphoto/v1", "/easyphoto"
ROUTES = [
    *(("POST", f"{V1}/jobs/{what}") for what in ("train", "portrait", "models", "batch")),
    *(("POST", f"{OLD}/easyphoto_{what}_forward") for what in ("train", "infer", "video_infer")),
    *(("GET", f"{V1}/{what}") for what in ("people", "templates", "models", "jobs")),
    *(("GET", f"{V1}/people/{{}}"), ("DELETE", f"{V1}/people/{{}}"), ("GET", f"{V1}/models/{{}}")),
    *(("GET", f"{V1}/jobs/{{}}"), ("DELETE", f"{V1}/jobs/{{}}"), ("GET", f"{V1}/jobs/{{}}/pictures/{{}}")),
]
FIELDS = [
    *("user_id", "user_ids", "photos", "templates", "presets", "options", "validation_templates", "resume", "features"),
    *("rows", "table", "format", "name"),
    *("instance_images", "init_image", "uploaded_template_images", "selected_template_images", "tabs"),
    *("pose_template", "t2i_pose_template", "ref_mode_choose"),
]
OPTIONS = [*{d.name for config in (TrainConfig, PortraitConfig) for d in declared(config)}, "enable_rl", "rnak"]
TEXTS = [
    *("", "ada", "none", "eve", "../../etc/passwd", "/etc/passwd", "C:\\\\x", "a/b", "..", ".", "~", "a\x00b", "CON"),
    *("\ud800", "é" * 300, "\u202e", "a " * 2000, "%2e%2e", "AAAA", "data:image/png;base64,", "http://127.0.0.1/x"),
    *("{0.__class__}", "%s%n", "'; --", "<script>", "grace-hopper", "demo", "enhance", "1", "-1", "nan", "{", "}{"),
]
NUMBERS: list[Any] = [0, 1, -1, 2**31, 2**63, 10**40, 1e308, -0.0, 0.5, float("nan"), float("inf")]
KINDS = ["application/json"] * 8 + ["", "text/plain", "application/x-www-form-urlencoded", "\xff"]
HOSTS = ["localhost"] * 12 + ["evil.example", "", "[::1]", "\xff"]
ALLOWED = {200, 202, 204, 307, 400, 403, 404, 405, 409, 413, 415, 422, 429}
"""307: FastAPI's, for a path with a slash too many. No 5xx: the disk isn't full, so nothing may fail to be written."""


class Fuzzer:
    """Makes calls from a seed."""

    def __init__(self, seed: int, picture: bytes) -> None:
        self._random = random.Random(seed)
        self._picture = base64.b64encode(picture).decode()

    def call(self) -> tuple[str, str, list[tuple[bytes, bytes]], bytes]:
        """Method, path, headers and body."""
        pick = self._random
        method, path = pick.choice(ROUTES)
        while "{}" in path:
            path = path.replace("{}", quote(self._text().encode("utf-8", "surrogatepass"), safe="%"), 1)
        if pick.random() < 0.02:
            method = pick.choice(["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
        headers = [("host", pick.choice(HOSTS))]
        kind = pick.choice(KINDS)
        if kind:
            headers.append(("content-type", kind))
        if pick.random() < 0.05:
            headers.append((pick.choice(["origin", "referer", "sec-fetch-site", "content-length"]), self._text()[:50]))
        body = self._body() if method not in ("GET", "HEAD") else b""
        return method, path, [(k.encode(), v.encode("latin-1", "replace")) for k, v in headers], body

    def _text(self) -> str:
        return self._random.choice(TEXTS)

    def _body(self) -> bytes:
        pick = self._random
        fields = {pick.choice(FIELDS): self._value(3) for _ in range(pick.randrange(6))}
        fields |= {pick.choice(OPTIONS): self._value(1) for _ in range(pick.randrange(3))}
        if pick.random() < 0.5:
            fields |= {"user_id": "ada", "user_ids": ["ada"], "templates": [self._picture], "init_image": self._picture}
        if pick.random() < 0.3:
            fields["options"] = {pick.choice(OPTIONS): self._value(1) for _ in range(pick.randrange(4))}
        data = json.dumps(fields).encode()
        if pick.random() < 0.1:
            at = pick.randrange(len(data))
            data = data[:at] + pick.randbytes(pick.randrange(4)) + data[at + pick.randrange(4) :]
        return data

    def _value(self, depth: int) -> Any:
        pick = self._random
        match pick.randrange(8 if depth else 5):
            case 0 | 1:
                return self._text()
            case 2:
                return pick.choice(NUMBERS)
            case 3:
                return pick.choice([True, False, None])
            case 4:
                return self._picture
            case 5 | 6:
                return [self._value(depth - 1) for _ in range(pick.randrange(5))]
            case _:
                return {self._text(): self._value(depth - 1) for _ in range(pick.randrange(4))}


async def _call(app: FastAPI, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    """The status of one call, without a socket. An exception that reaches the server is a failure of the test."""
    from urllib.parse import unquote

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path, errors="replace"),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent, statuses = False, []
    done = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await asyncio.wait_for(app(scope, receive, send), 60)
    done.set()
    (status,) = statuses
    return int(status)


@pytest.fixture
def fuzzed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EasyPhoto, FastAPI]]:
    service = acting_service(Paths.standalone(tmp_path / "data"), monkeypatch)
    app = FastAPI()
    routes.mount(app, service)
    yield service, app


def fuzz(service: EasyPhoto, app: FastAPI, folder: Path, calls: int, seed: int) -> dict[int, int]:
    """Make so many calls; how often each status was answered."""
    picture = b"\xff\xd8\xff\xe0 no picture"
    fuzzer, counted = Fuzzer(seed, picture), dict[int, int]()

    async def all_of_them() -> None:
        for number in range(calls):
            if number % 200 == 0:
                trained(service, "ada")
            call = fuzzer.call()
            status = await _call(app, *call)
            counted[status] = counted.get(status, 0) + 1
            assert status in ALLOWED, (number, status, call)

    asyncio.run(all_of_them())
    assert [p.name for p in folder.iterdir()] == ["data"], "something was written beside the data folder"
    return counted


@pytest.mark.thorough
def test_calls_at_random(fuzzed: tuple[EasyPhoto, FastAPI], tmp_path: Path) -> None:
    counted = fuzz(*fuzzed, tmp_path, calls=400, seed=1)
    assert {200, 202, 403, 404, 415, 422} <= set(counted), counted


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_calls_at_random(fuzzed: tuple[EasyPhoto, FastAPI], tmp_path: Path) -> None:
    fuzz(*fuzzed, tmp_path, calls=20_000, seed=2)
