"""Previews of a portrait that is being drawn: for a client that asks for them, small, and in no file."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto.config import Paths
from easyphoto.inference import previewing
from easyphoto.ports import OnStep, PreviewWatcher, Rendered, Txt2Img
from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.fakes import FakeHost, FakeVision

pytestmark = pytest.mark.thorough
V1 = "/easyphoto/v1"
NOISE = np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8)


class PreviewingHost(FakeHost):
    """Shows noise after each step if somebody wants to see it, and holds the picture on until it may ``go_on``."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0
        self.go_on = threading.Event()

    def _render(self, job: Txt2Img, on_step: OnStep | None) -> Rendered:
        assert isinstance(on_step, PreviewWatcher)
        for _ in range(1000):
            if self.go_on.wait(0.02):
                break
            if on_step.wants_preview():
                self.shown += 1
                on_step.preview(NOISE)
        return super()._render(job, on_step)


@pytest.fixture
def host() -> Iterator[PreviewingHost]:
    host = PreviewingHost()
    yield host
    host.go_on.set()


@pytest.fixture
def service(paths: Paths, host: PreviewingHost) -> EasyPhoto:
    service = EasyPhoto(host, FakeVision(), paths)
    trained(service, "ada")
    return service


def asked(client: httpx.Client, templates: list[str]) -> str:
    answer = client.post(f"{V1}/jobs/portrait", json={"user_ids": ["ada"], "templates": templates[:1]})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_client_that_asks_for_previews_gets_them(
    client: httpx.Client, host: PreviewingHost, templates: list[str], paths: Paths
) -> None:
    job, seen = asked(client, templates), list[dict[str, Any]]()
    with client.stream("GET", f"{V1}/jobs/{job}/events?previews=true") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                if seen[-1]["kind"] == "preview":
                    host.go_on.set()
    kinds = [event["kind"] for event in seen]
    assert "preview" in kinds and kinds[-1] == "finished"
    preview = seen[kinds.index("preview")]
    file = base64.b64decode(preview["jpeg"])
    assert preview["stage"] == "first"
    assert len(file) <= previewing.MOST_BYTES
    with Pillow.open(io.BytesIO(file)) as picture:
        assert (picture.format, max(picture.size)) == ("JPEG", previewing.SIDE)
    numbers = client.get(f"{V1}/jobs/{job}/events?previews=true").text
    assert "preview" not in numbers, "a job that has ended shows what it made"
    written = [path for path in Path(paths.outputs).rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if preview["jpeg"][:200].encode() in path.read_bytes()]


def test_nobody_else_pays_for_them(client: httpx.Client, host: PreviewingHost, templates: list[str]) -> None:
    job = asked(client, templates)
    threading.Timer(0.5, host.go_on.set).start()
    text = client.get(f"{V1}/jobs/{job}/events").text
    assert "event: finished" in text
    assert "preview" not in text
    assert host.shown == 0, "the host was never asked for one"
