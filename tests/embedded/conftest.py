"""An embedded host on tiny random models in place of the bench checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from easyphoto import sd
from easyphoto.config import Paths
from easyphoto.hosts.embedded import EmbeddedHost
from tests import tiny
from tests.fakes import FakeVision
from tests.threads import one_thread


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.folder(tmp_path_factory.mktemp("bench") / "bench")
    for seed, role in enumerate(("canny", "openpose", "color", "tile")):
        tiny.controlnet(folder / "controlnet" / role, seed=seed)
    return folder


@pytest.fixture
def paths(tmp_path: Path, bench: Path) -> Paths:
    made = replace(Paths.standalone(tmp_path / "data 数据"), bench=bench)
    for folder in (made.loras, made.models / "Stable-diffusion", made.models / "ControlNet", made.models / "VAE"):
        folder.mkdir(parents=True)
    return made


@pytest.fixture
def host(paths: Paths) -> EmbeddedHost:
    return EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32)


@pytest.fixture(scope="session")
def bench_parts(bench: Path) -> sd.Parts:
    return sd.load(bench, device="cpu", dtype=torch.float32)
