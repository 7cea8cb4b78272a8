"""Tests that a training whose base model lacks CLIP's tokenizer says so, or fetches it, before it looks at a photo."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from easyphoto.api.wire import Scrubber
from easyphoto.catalog import fetching
from easyphoto.config import Paths
from easyphoto.errors import AssetMissing
from easyphoto.events import Event, Notice, Progress
from easyphoto.sd import tokenizers
from easyphoto.service import EasyPhoto, TrainRequest
from tests.acting import photos_in, play
from tests.fakes import FAKE_CHECKPOINT, FakeHost, FakeVision

TOKENS = 6
ADVICE = 'download "CLIP\'s tokenizer"'


@pytest.fixture
def single_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base model of a single file, on a machine that has no tokenizer anywhere."""
    monkeypatch.setattr(tokenizers, "_PACKAGES", ())
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    for name in ("HF_HUB_CACHE", tokenizers.PLACE):
        monkeypatch.delenv(name, raising=False)
    shapes = {
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [TOKENS, 8],
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [1, 768],
        "first_stage_model.decoder.conv_in.weight": [1],
    }
    head: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        head[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(head).encode()
    path = tmp_path / "elsewhere" / "single.safetensors"
    path.parent.mkdir()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


Make = Callable[[], EasyPhoto]


@pytest.fixture
def make(single_file: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr("easyphoto.checkpoint.require_checkpoint", lambda path: None)

    def make() -> EasyPhoto:
        host = FakeHost(available=(replace(FAKE_CHECKPOINT, path=single_file),))
        service = EasyPhoto(host, FakeVision(), paths)
        monkeypatch.setattr("easyphoto.training.job.run", play(service))
        return service

    return make


def test_without_a_network_it_is_refused_at_once(make: Make, tmp_path: Path) -> None:
    service = make()
    with pytest.raises(AssetMissing, match=ADVICE):
        service.train(TrainRequest("alice", photos_in(tmp_path)))
    assert service.jobs.list() == []


def ended(service: EasyPhoto, folder: Path) -> tuple[str, list[Event]]:
    job = service.train(TrainRequest("alice", photos_in(folder)))
    events = [event for _, event in job.events()]
    return job.state, events


def test_what_can_not_be_fetched_is_said_before_a_photo_is_looked_at(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def fails(*args: Any, **more: Any) -> None:
        raise AssetMissing("The network is down.")

    monkeypatch.setattr(fetching, "fetch", fails)
    state, events = ended(make(), tmp_path)
    assert state == "failed"
    assert "The network is down." in [str(e.message) for e in events if isinstance(e, Notice)]
    assert ADVICE in str(getattr(events[-1], "message", ""))
    assert not any(isinstance(e, Progress) and e.stage == "photos" for e in events)


def test_what_is_missing_is_fetched(make: Make, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    asked: list[str] = []

    def brings(missing: Any, folders: Any, *args: Any, **more: Any) -> None:
        folder = folders.destinations["tokenizer"]
        folder.mkdir(parents=True)
        asked.extend(asset.file for asset in missing)
        (folder / "vocab.json").write_text(json.dumps({str(n): n for n in range(TOKENS)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")

    monkeypatch.setattr(fetching, "fetch", brings)
    state, _ = ended(make(), tmp_path)
    assert (state, sorted(asked)) == ("finished", ["merges.txt", "vocab.json"])
    assert (paths.models / "tokenizer" / "vocab.json").is_file()


def test_the_advice_is_whole_over_the_api(single_file: Path, paths: Paths) -> None:
    with pytest.raises(AssetMissing) as caught:
        tokenizers.require(single_file, tokenizers.folders(paths.models, single_file))
    sentence = str(caught.value)
    assert Scrubber(paths).text(sentence) == sentence
