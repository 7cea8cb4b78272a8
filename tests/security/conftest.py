"""The servers as they really are: ``serve`` in a process of its own, and the routes as each WebUI mounts them."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI

from easyphoto.catalog.model_folders import ALSO_LOOK
from easyphoto.config import Paths
from easyphoto.hosts.webui import extension
from easyphoto.service import EasyPhoto
from tests.acting import Pace, acting_service, trained
from tests.hosts.conftest import write_checkpoint
from tests.hosts.fake_webui import A1111, FORGE, FakeWebUI
from tests.serving import served

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "easyphoto_webui.py"
SERVE = "serve"


@contextmanager
def serving(data: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``python -m easyphoto serve`` on a free port, with its address; ended as Ctrl-C ends it."""
    command = [sys.executable, "-m", "easyphoto", "serve", "--port", "0", "--data", str(data), *flags]
    variables = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            found = re.search(r"listens on (http://\S+?)/?$", line.strip())
            if found:
                break
        else:
            pytest.fail(f"serve did not start: {said}")
        yield process, found[1]
    finally:
        process.kill()
        process.wait(60)
        process.stderr.close()


@dataclass(frozen=True)
class Place:
    """One way in which EasyPhoto's routes can be reached. ``service`` is None where another process has it."""

    name: str
    address: str
    data: Path
    service: EasyPhoto | None


@contextmanager
def webui(
    dialect: str, folder: Path, *, cmd_opts: dict[str, object] | None = None, pace: Pace | None = None
) -> Iterator[Place]:
    """The routes as the extension's script mounts them in an app that runs already, as WebUIs do it."""
    root = folder / "web ui 数据"
    write_checkpoint(root / "models" / "one.safetensors")
    (root / "models" / "Lora").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ALSO_LOOK, "")
        extension.webui.cache_clear()
        fake = FakeWebUI(dialect, root).install(patch)
        vars(fake.modules["modules.shared"].cmd_opts).update(cmd_opts or {})
        service = acting_service(extension.settings().paths(), patch, pace)
        patch.setattr(extension, "service", lambda: service)
        app = FastAPI()

        @app.get("/of-the-host")
        def of_the_host() -> str:
            return "the WebUI's own"

        with served(app) as address:
            runpy.run_path(str(SCRIPT))
            fake.callbacks["app_started"](None, app)
            yield Place(dialect, address, root, service)
    extension.webui.cache_clear()


@pytest.fixture(scope="module", params=[SERVE, A1111, FORGE])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each way in, with somebody called ada who was trained."""
    folder = tmp_path_factory.mktemp("place")
    if request.param == SERVE:
        with pytest.MonkeyPatch.context() as patch:
            trained(acting_service(Paths.standalone(folder), patch), "ada")
        with serving(folder, "--allow-host", "photos.example.org") as (_, address):
            yield Place(SERVE, address, folder, None)
        return
    options: dict[str, object] = {"cors_allow_origins": "https://tools.example", "server_name": "photos.example.org"}
    with webui(request.param, folder, cmd_opts=options) as place:
        assert place.service is not None
        trained(place.service, "ada")
        yield place
