"""Tiny models, written once; one thread, which for such models is the fastest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from easyphoto import sd
from tests import tiny
from tests.threads import one_thread


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def parts(tiny_folder: Path) -> sd.Parts:
    return sd.load(tiny_folder, device="cpu", dtype=torch.float32)
