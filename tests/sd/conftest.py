"""Tiny models, written once; one thread, which for such models is the fastest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from easyphoto import sd
from tests import tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def parts(tiny_folder: Path) -> sd.Parts:
    return sd.load(tiny_folder, device="cpu", dtype=torch.float32)
