from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.fake_webui import A1111, FORGE, NEO, REFORGE, FakeWebUI


def write_checkpoint(path: Path, width: int = 768) -> Path:
    """A file that has a Stable Diffusion checkpoint's header, with a text embedding of ``width``, and little else."""
    name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    header = json.dumps({name: {"dtype": "F16", "shape": [1, width], "data_offsets": [0, 2 * width]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * width))
    return path


MakeWebUI = Callable[..., FakeWebUI]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWebUI:
    """Puts a fake WebUI in place, in a folder with a space and Chinese in its name."""
    root = tmp_path / "web ui 数据"
    for name in ("one", "two"):
        write_checkpoint(root / "models" / f"{name}.safetensors")
    (root / "models" / "Lora").mkdir()

    def make(dialect: str = A1111, **more: object) -> FakeWebUI:
        return FakeWebUI(dialect, root, **more).install(monkeypatch)  # type: ignore[arg-type]

    return make


@pytest.fixture(params=[A1111, FORGE, REFORGE, NEO])
def fake(request: pytest.FixtureRequest, make: MakeWebUI) -> FakeWebUI:
    return make(request.param)
