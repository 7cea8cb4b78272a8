from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from easyphoto.catalog import Asset, Bundle, Catalog, Folders
from easyphoto.catalog.download import Limits
from easyphoto.catalog.fetching import Options
from easyphoto.config import Paths
from tests.catalog.server import Mirror, serve

QUICK = Options(limits=Limits(rounds=2, pause=0.01, longest_pause=0.05, connect=2, read=1))


def onnx_like(size: int = 50_000, seed: int = 1) -> bytes:
    """Bytes that start as an ONNX model does and that no compression makes shorter."""
    out, block = bytearray(b"\x08\x07"), hashlib.sha256(str(seed).encode()).digest()
    while len(out) < size:
        block = hashlib.sha256(block).digest()
        out += block
    return bytes(out[:size])


def safetensors_like(size: int = 40_000) -> bytes:
    """A sound safetensors file with one tensor of zeros."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "EASYPHOTO_OFFLINE", "EASYPHOTO_MODEL_FOLDERS", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def one() -> Iterator[Mirror]:
    with serve() as mirror:
        yield mirror


@pytest.fixture
def two() -> Iterator[Mirror]:
    with serve() as mirror:
        yield mirror


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders.of(Paths.standalone(tmp_path / "data"))


@pytest.fixture
def make(one: Mirror, two: Mirror) -> Callable[..., Catalog]:
    """A catalog with one asset, ``w.onnx``, that both servers have."""

    def build(body: bytes, *, known: bool = True, file: str = "w.onnx", **more: Any) -> Catalog:
        one.files[f"/{file}"] = two.files[f"/{file}"] = body
        asset = Asset(
            name="w",
            file=file,
            folder="easyphoto",
            what="a test",
            bytes=len(body),
            about=not known,
            sha256=hashlib.sha256(body).hexdigest() if known else None,
            licence="MIT",
            commercial=True,
            sources=(f"{one.url}/{file}", f"{two.url}/{file}"),
            **more,
        )
        return Catalog({"w": asset}, {"all": Bundle("all", "a test", ("w",))})

    return build
