"""A real ComfyUI on the CPU for tests, in folders that are made for them, with narrow random models.

Nothing is written into that ComfyUI: ``COMFYUI_ROOT`` is its folder, and ``COMFYUI_PYTHON`` what it runs on.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from easyphoto.errors import HostFailed
from easyphoto.hosts.comfyui import address
from easyphoto.hosts.comfyui.client import ComfyUIClient

ROOT = Path(os.environ.get("COMFYUI_ROOT", ""))
PYTHON = os.environ.get("COMFYUI_PYTHON", str(ROOT / "venv" / "bin" / "python"))
PORT = int(os.environ.get("COMFYUI_PORT", "8288"))
HERE, NODES = Path(__file__).parent, Path(__file__).parents[2] / "comfyui"
BOOT = 900


def marks() -> list[pytest.MarkDecorator]:
    """What a module of such tests marks itself with."""
    missing = pytest.mark.skipif("COMFYUI_ROOT" not in os.environ, reason="COMFYUI_ROOT says no ComfyUI to test in")
    return [pytest.mark.host, pytest.mark.timeout(3600), missing]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders with the models and with two custom nodes: ours, and the one for narrow models."""
    folder = tmp_path_factory.mktemp("comfy") / "base 数据"
    subprocess.run([PYTHON, str(HERE / "make_narrow_comfyui.py"), str(ROOT), str(folder)], check=True)
    (folder / "custom_nodes").mkdir()
    (folder / "custom_nodes" / "easyphoto").symlink_to(NODES)
    (folder / "custom_nodes" / "narrow_comfyui").symlink_to(HERE / "narrow_comfyui")
    return folder


@pytest.fixture(scope="module")
def url(base: Path) -> Iterator[str]:
    where = f"http://127.0.0.1:{PORT}"
    command = [PYTHON, "main.py", "--cpu", "--base-directory", str(base), "--port", str(PORT), "--disable-auto-launch"]
    with (base / "comfyui.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            client, deadline = ComfyUIClient(address.read(where)), time.monotonic() + BOOT
            while True:
                try:
                    client.stats()
                    break
                except HostFailed:
                    assert process.poll() is None and time.monotonic() < deadline, (base / "comfyui.log").read_text()
                    time.sleep(1)
            yield where
        finally:
            process.terminate()
            process.wait()
