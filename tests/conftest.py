"""Settings for every test: no network, few threads, and the photographs that installed packages contain."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.ports import Image
from tests import accelerators

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

_connect = socket.socket.connect


def _local_only(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test tried to reach {address[0]}: the network is off in tests")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _local_only)


@pytest.fixture(autouse=True)
def _no_accelerator() -> Iterator[None]:
    yield
    accelerators.forget()


@pytest.fixture(autouse=True, scope="module")
def _gradio_leaves_loops_open() -> Iterator[None]:
    """The event loops that gradio opens and never closes are collected at the end of the module that imported it: the
    warning would else meet any later test in which Python happens to collect them."""
    yield
    if "gradio" not in sys.modules:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.set_event_loop(None)
        gc.collect()


def packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, package
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)


@pytest.fixture(scope="session")
def astronaut() -> Image:
    """Eileen Collins, 512 x 512, one face (NASA, public domain)."""
    return pictures.load(packaged("skimage", "data", "astronaut.png"))


@pytest.fixture(scope="session")
def grace_hopper() -> Image:
    """Grace Hopper, 512 x 600, one face (US Navy, public domain)."""
    return pictures.load(packaged("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg"))


@pytest.fixture(scope="session")
def six_people() -> Image:
    """The group picture of insightface, 1280 x 886, six faces."""
    return pictures.load(packaged("insightface", "data", "images", "t1.jpg"))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Folders of a program of its own, with a space and Chinese in their path."""
    return Paths.standalone(tmp_path / "data 数据")
