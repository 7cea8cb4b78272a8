"""Tests of what a WebUI sees of the extension: its script, its settings, its folders and its installer."""

from __future__ import annotations

import asyncio
import gc
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from easyphoto import environment
from easyphoto.api import auth
from easyphoto.catalog import Folders
from easyphoto.catalog.locate import Index
from easyphoto.catalog.model_folders import ALSO_LOOK
from easyphoto.config import Paths
from easyphoto.environment import making
from easyphoto.errors import AssetMissing
from easyphoto.events import Listener, Progress
from easyphoto.hosts.webui import extension
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.settings_page import (
    COMMERCIAL,
    DEFAULTS,
    FACES,
    KEEP_VISION,
    LANGUAGE,
    OUTPUTS,
    WebUISettings,
)
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.vision.remote import RemoteVision
from tests.fakes import FakeHost, FakeVision, blank
from tests.hosts.conftest import MakeWebUI
from tests.hosts.fake_webui import FakeWebUI

# gradio leaves event loops and sockets open; they are collected at any time
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "easyphoto_webui.py"


@pytest.fixture(autouse=True)
def _forget_the_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(ALSO_LOOK, "")
    kept = (extension.webui, extension.service)
    for made in kept:
        made.cache_clear()
    yield
    for made in kept:
        made.cache_clear()
    with warnings.catch_warnings():  # gradio leaves event loops and sockets open
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def ask(
    app: FastAPI, path: str, auth: tuple[str, str] | None = None, method: str = "GET", **more: Any
) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", auth=auth
        ) as client:
            return await client.request(method, path, **more)

    return asyncio.run(asked())


def settings_of(fake: FakeWebUI) -> WebUISettings:
    return WebUISettings(WebUI.load())


# --- script ----------------------------------------------------------------------------------------------------------


def test_the_script_registers_settings_tab_and_routes(make: MakeWebUI) -> None:
    fake = make()
    runpy.run_path(str(SCRIPT))
    assert set(fake.callbacks) == {"ui_settings", "ui_tabs", "app_started"}
    fake.callbacks["ui_settings"]()
    assert set(fake.options.labels) == set(DEFAULTS)
    assert {info.section for info in fake.options.labels.values()} == {("easyphoto", "EasyPhoto")}
    app = FastAPI()
    fake.callbacks["app_started"](None, app)
    answer = ask(app, "/easyphoto/v1/people")
    assert (answer.status_code, answer.json()) == (200, [])


def test_running_the_script_again_keeps_the_service(make: MakeWebUI) -> None:
    make()
    first = extension.service()
    runpy.run_path(str(SCRIPT))
    assert extension.service() is first


@pytest.mark.thorough
def test_a_tab_that_can_not_be_built_says_why(make: MakeWebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = make()

    def fail() -> None:
        raise AssetMissing("numpy is too old <1.20>.")

    monkeypatch.setattr(extension, "service", fail)
    runpy.run_path(str(SCRIPT))
    ((page, title, elem_id),) = fake.callbacks["ui_tabs"]()
    assert (title, elem_id) == ("EasyPhoto", "easyphoto")
    assert all(block.do_not_save_to_config for block in page.blocks.values()), "labels are not unique"
    assert "numpy is too old &lt;1.20&gt;." in str([getattr(b, "value", "") for b in page.blocks.values()])


def test_api_auth_is_honoured(make: MakeWebUI) -> None:
    fake = make()
    fake.modules["modules.shared"].cmd_opts.api_auth = "ada:secret, bob:pass:word"
    runpy.run_path(str(SCRIPT))
    app = FastAPI()
    fake.callbacks["app_started"](None, app)
    people = "/easyphoto/v1/people"
    assert ask(app, people).status_code == 401
    assert ask(app, people, ("ada", "wrong")).status_code == 401
    assert ask(app, people, ("eve", "")).status_code == 401
    assert ask(app, people, ("ada", "secret")).status_code == 200
    assert ask(app, people, ("bob", "pass:word")).status_code == 200
    assert ask(app, "/easyphoto/easyphoto_infer_forward", method="POST", json={}).status_code == 401


@pytest.mark.thorough
def test_what_a_page_asks_once_a_second_stays_quiet_behind_forges_wrappers() -> None:
    """They take any argument and so tell of none: without a look behind them each look flickers, and waits its turn."""
    gr = pytest.importorskip("gradio")
    from easyphoto.ui import compat

    class EventWrapper:
        def __init__(self, replaced_event: Any) -> None:
            self.replaced_event = replaced_event

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.replaced_event(*args, **kwargs)

    with gr.Blocks() as page:
        button, shown = gr.Button("tick"), gr.HTML("")
        first = compat.listen(EventWrapper(button.click), lambda: "", None, [shown], quiet=True)

        def then(*xargs: Any, _js: Any = None, **xkwargs: Any) -> Any:
            return first.then(*xargs, **xkwargs)

        compat.listen(then, lambda: "", None, [shown], quiet=True)
    events = page.get_config_file()["dependencies"]
    assert [(e["show_progress"], e["queue"], e["api_visibility"]) for e in events] == [("hidden", False, "private")] * 2


def test_no_credentials_no_check() -> None:
    assert auth.basic({}) is None


# --- settings --------------------------------------------------------------------------------------------------------


def test_folders_are_the_webuis(make: MakeWebUI, tmp_path: Path) -> None:
    fake = make()
    fake.modules["modules.shared"].cmd_opts.lora_dir = str(tmp_path / "我的 LoRA")
    paths = settings_of(fake).paths()
    assert paths.people == fake.root / "outputs" / "easyphoto-user-id-infos"
    assert paths.portraits == fake.root / "outputs" / "easyphoto-outputs"
    assert paths.loras == tmp_path / "我的 LoRA"
    assert paths.models == fake.root / "models"
    assert (paths.templates / "manifest.json").is_file()
    fake.options.data[OUTPUTS] = str(tmp_path / "elsewhere")
    assert settings_of(fake).paths().people == tmp_path / "elsewhere" / "easyphoto-user-id-infos"


def test_weights_are_found_wherever_the_webui_has_them(make: MakeWebUI, tmp_path: Path) -> None:
    fake = make()
    arguments = fake.modules["modules.shared"].cmd_opts
    arguments.ckpt_dir, arguments.controlnet_dir = str(tmp_path / "检查点"), tmp_path / "nets"
    annotators = fake.root / "extensions" / "sd-webui-controlnet" / "annotator" / "downloads"
    for file in (tmp_path / "检查点" / "Base.safetensors", annotators / "openpose" / "facenet.pth"):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    settings = settings_of(fake)
    folders = settings.folders(settings.paths())
    assert folders.destinations["checkpoint"] == tmp_path / "检查点"
    assert folders.destinations["controlnet"] == tmp_path / "nets"
    assert folders.destinations["vae"] == fake.root / "models" / "VAE"
    index = Index(folders)
    assert index.named("base.safetensors") == [tmp_path / "检查点" / "Base.safetensors"]
    assert index.named("facenet.pth") == [annotators / "openpose" / "facenet.pth"]


def test_the_processes_in_our_environment_look_there_too(make: MakeWebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = make()
    (fake.root / "extensions" / "sd-webui-controlnet").mkdir(parents=True)
    monkeypatch.setenv(ALSO_LOOK, str(fake.root / "mine"))
    settings = settings_of(fake)
    paths = settings.paths()
    extension.tell_children(settings.folders(paths))
    assert set(settings.folders(paths).search) <= set(Folders.under(paths.models).search)
    assert (fake.root / "mine").resolve() in Folders.under(paths.models).search


def test_settings_are_read_anew_and_nonsense_is_taken_for_the_default(make: MakeWebUI) -> None:
    fake = make()
    settings = settings_of(fake)
    assert (settings.faces(), settings.language(), settings.vision_idle()) == (1, "", 600)
    fake.options.data.update({FACES: 3.0, LANGUAGE: "zh", KEEP_VISION: 0, COMMERCIAL: True})
    assert (settings.faces(), settings.language(), settings.vision_idle()) == (3, "zh", None)
    assert settings.vision(settings.paths())["commercial_only"] is True
    fake.options.data.update({FACES: None, LANGUAGE: "klingon", "localization": "zh_CN"})
    assert (settings.faces(), settings.language()) == (1, "zh")
    fake.options.data["easyphoto_backends"] = "detector=insightface, saliency = u2net, nonsense=1, parser"
    assert settings.vision(settings.paths())["backends"] == {"detector": "insightface", "saliency": "u2net"}


def test_gradio_auth_counts_too(make: MakeWebUI, tmp_path: Path) -> None:
    fake = make()
    file = tmp_path / "users.txt"
    file.write_text("cleo:c,\ndan:d\n", encoding="utf-8")
    options = fake.modules["modules.shared"].cmd_opts
    options.gradio_auth, options.gradio_auth_path = '"bob:b"', str(file)
    assert settings_of(fake).credentials() == {"bob": "b", "cleo": "c", "dan": "d"}


# --- service ---------------------------------------------------------------------------------------------------------


def test_without_our_environment_the_service_is_there_and_vision_says_how(
    make: MakeWebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setattr(environment, "status", lambda *_, **__: environment.Status(False, "It isn't made yet: do so."))
    service = extension.service()
    assert isinstance(service.vision, RemoteVision)
    with pytest.raises(AssetMissing, match="It isn't made yet: do so"):
        service.vision.backends()
    assert service.people.list() == []


def test_a_job_makes_the_environment_first_and_shows_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(listener: Listener, cancelled: Callable[[], bool], **_: object) -> environment.Status:
        listener(Progress(stage="environment", step=2, total=4, message="Collecting peft"))
        raise AssetMissing("There is no network.")

    monkeypatch.setattr(making, "status", lambda *_, **__: environment.Status(False, "It isn't made yet."))
    monkeypatch.setattr(making, "create", create)
    service = EasyPhoto(FakeHost(), FakeVision(), paths, python=extension.make_environment)
    job = service.train(TrainRequest("ann", (blank(64, 64),)))
    with pytest.raises(AssetMissing, match="There is no network"):
        job.wait(60)
    assert [e.message for _, e in job.events(follow=False) if isinstance(e, Progress)] == ["Collecting peft"]


def test_send_to_buttons_are_the_webuis_own(make: MakeWebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    bound: list[Any] = []
    module = SimpleNamespace(
        create_buttons=lambda tabs: {tab: SimpleNamespace(elem_id=f"{tab}_tab") for tab in tabs},
        ParamBinding=SimpleNamespace,
        register_paste_params_button=bound.append,
    )
    monkeypatch.setitem(sys.modules, "modules.infotext_utils", module)  # type: ignore[arg-type]
    picture, text = object(), object()
    extension.send_to(picture, text)
    assert [b.tabname for b in bound] == ["img2img", "inpaint", "extras"]
    assert all(b.source_image_component is picture for b in bound)
    assert [b.source_text_component for b in bound] == [text, None, None]
    assert len({b.paste_button.elem_id for b in bound}) == 3


# --- installer -------------------------------------------------------------------------------------------------------


def test_the_installer_run_by_a_webui_says_one_line_and_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "launch.py").touch()
    before = sorted(p.name for p in ROOT.iterdir())
    ran = subprocess.run(
        [sys.executable, str(ROOT / "install.py")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("EasyPhoto: EasyPhoto's own environment")
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""
    assert sorted(p.name for p in ROOT.iterdir()) == before


def test_importing_the_extension_costs_no_torch() -> None:
    """The tabs must come up where nothing of ours is installed."""
    code = "import sys, easyphoto.hosts.webui.extension; print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"
