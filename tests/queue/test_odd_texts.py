"""Texts that are no text for a database are kept as they came, and a portrait with such a prompt is queued."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.config import Paths, PortraitConfig
from easyphoto.events import Notice
from easyphoto.messages import Message
from easyphoto.queue.durable import DurableQueue
from easyphoto.queue.port import Order
from easyphoto.service import PortraitRequest
from tests.acting import acting_service, templates_in, trained

HALF = "half a pair: \ud800"


def test_what_was_asked_for_comes_back_whole(tmp_path: Path) -> None:
    queue, store = DurableQueue(tmp_path), DurableQueue(tmp_path).store
    job = queue.put(Order("generate", "ada", ("ada",), {"prompt": HALF, "名": "值"}))
    queue.store.append(job.id, [Notice(message=Message("{said} 值", said=HALF))])
    found = store.get(job.id)
    assert found is not None and found.payload == {"prompt": HALF, "名": "值"}
    assert [event.message for event in store.events(job.id, 0) if isinstance(event, Notice)] == [f"{HALF} 值"]


def test_a_portrait_with_half_a_surrogate_pair_in_its_prompt_is_made(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = acting_service(paths, monkeypatch)
    trained(service, "ada")
    templates_in(tmp_path / "templates")
    template = sorted((tmp_path / "templates").iterdir())[0]
    job = service.generate(PortraitRequest(("ada",), (template,), PortraitConfig(additional_prompt=HALF)))
    assert len(job.wait(60).portraits) == 1
