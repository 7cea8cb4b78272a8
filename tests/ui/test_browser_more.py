"""More tests of the tabs as a person uses them: templates of every kind, weights, and what goes wrong, in Chinese
too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from easyphoto.cli.serve import app
from easyphoto.service import EasyPhoto
from tests.acting import templates_in, trained
from tests.catalog.little import little
from tests.catalog.server import Answer, Mirror, serve
from tests.serving import served
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = [pytest.mark.usefixtures("needs_browser"), pytest.mark.filterwarnings("ignore")]

PORTRAITS = "#easyphoto_generate_progress"
DOWNLOAD, NEEDS = "#easyphoto_weights_progress", "#easyphoto_weights_needs"
INFERENCE, WEIGHTS = 1, 2
MANY, TEXT = 2, 3


@pytest.mark.thorough
def test_own_presets_a_folder_and_text_alone(address: str, service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    vision: Any = service.vision
    vision.detector.faces = 1  # in a picture made from text there are no discs
    folder = tmp_path / "folder"
    templates_in(folder, 3)
    (folder / "notes.txt").write_text("no picture")
    with Page(address) as page:
        page.tab(INFERENCE)
        page.upload("easyphoto_generate_add", templates_in(tmp_path / "own", 1))
        page.wait(lambda: "template-0 was added" in page.text("#easyphoto_generate_preset_note"))
        page.wait(lambda: "template-0" in page.text("#easyphoto_generate_chosen"))
        assert [t.name for t in service.templates.list() if t.own] == ["mine", "template-0"]

        page.tab(MANY, "#easyphoto_generate_templates")
        page.upload("easyphoto_generate_folder", [folder])
        page.wait_for("#easyphoto_generate_many_shown figure", 3)
        assert "3 templates" in page.text("#easyphoto_generate_many_shown")
        page.click("#easyphoto_generate_start")
        page.wait(lambda: "Portraits made: 3" in page.text(PORTRAITS))

        page.tab(TEXT, "#easyphoto_generate_templates")
        page.type("#easyphoto_generate_text_to_image_input_prompt", "a person in a garden")
        page.click("#easyphoto_generate_start")
        page.wait(lambda: "Portraits made: 1" in page.text(PORTRAITS))
        assert page.complaints() == []


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serve() as mirror:
        yield mirror


@pytest.mark.thorough
def test_weights_are_looked_at_fetched_and_stopped(service: EasyPhoto, mirror: Mirror) -> None:
    service.weights.catalog = little(mirror, 640_000)
    mirror.answers["/free-net.onnx"] = [Answer(pause=0.3), Answer()]  # for each 4 kB
    with served(app(service)) as address, Page(address) as page:
        page.tab(WEIGHTS)
        page.wait_for(f"{NEEDS} tr.missing")
        assert "1 files to download, 640 kB" in page.text(NEEDS) and "MIT" in page.text(NEEDS)
        page.wait(lambda: "Commercial use only: off" in page.text("#easyphoto_weights_decided"))
        page.click("#easyphoto_weights_feature label", 1)
        page.wait_for(f"{NEEDS} tr.missing", 2)
        assert "Some of these may not be used commercially" in page.text(NEEDS)
        page.click("#easyphoto_weights_start")
        page.wait_for(f"{DOWNLOAD} [data-state=running]")
        page.click("#easyphoto_weights_cancel")
        page.wait_for(f"{DOWNLOAD} [data-state=cancelled]")
        page.click("#easyphoto_weights_start")
        page.wait_for(f"{DOWNLOAD} [data-state=finished]")
        page.wait_for(f"{NEEDS} tr.there", 2)
        assert (service.paths.models / "free-net.onnx").read_bytes() == mirror.files["/free-net.onnx"]
        assert page.complaints() == []


@pytest.mark.thorough
def test_what_goes_wrong_is_said_in_chinese(
    service: EasyPhoto, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.weights.catalog = little(mirror)
    mirror.files.clear()
    with served(app(service)) as address, Page(address, language="zh-CN") as page:
        page.wait(lambda: page.text("#easyphoto_train_start") == "开始训练")
        page.click("#easyphoto_train_start")
        page.wait(lambda: page.text("#easyphoto_train_error") == "用户 ID 为空：请输入人物的名字。")
        page.tab(INFERENCE)
        page.click("#easyphoto_generate_start")
        page.wait(lambda: "没有选择人物" in page.text("#easyphoto_generate_error"))
        page.tab(WEIGHTS)
        page.wait(lambda: "需要下载 1 个文件" in page.text(NEEDS))
        page.wait(lambda: {"皮肤美化", "减少步数（LCM）", "下载"} <= set(page.words()))
        page.click("#easyphoto_weights_start")
        page.wait(lambda: "free-net.onnx 下载失败" in page.text(DOWNLOAD) and "404" in page.text(DOWNLOAD))
        monkeypatch.setenv("EASYPHOTO_OFFLINE", "1")
        page.click("#easyphoto_weights_look")
        page.wait(lambda: "已禁用网络" in page.text(NEEDS))
        page.click("#easyphoto_weights_start")
        page.wait(lambda: "当前离线" in page.text(DOWNLOAD))
        assert page.complaints() == []
