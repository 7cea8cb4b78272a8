"""Tests of the settings of the program without a WebUI: what is kept, what goes before it, and the page that shows
it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from easyphoto.cli import main, serve, standalone
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.webui.settings_page import DEFAULTS
from easyphoto.service import EasyPhoto, Preferences
from easyphoto.service.kept_settings import NAME, KeptSettings
from easyphoto.service.setting_fields import FIELDS
from easyphoto.ui.settings_tab import BROWSER, SettingsTab
from tests.acting import acting_service
from tests.serving import served
from tests.ui import browser
from tests.ui.browser import Page

# gradio leaves event loops and sockets open; they are collected at any time
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
SETTINGS = 3


@pytest.fixture
def kept(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> KeptSettings:
    for name in (standalone.COMMERCIAL_ONLY, standalone.PRECISION):
        monkeypatch.delenv(name, raising=False)
    return KeptSettings(paths)


def test_each_setting_of_a_webui_that_makes_sense_alone_is_kept(kept: KeptSettings) -> None:
    assert {f"easyphoto_{key}" for key in FIELDS} == set(DEFAULTS), "declared once"
    assert set(FIELDS) - set(kept.values()) == {"outputs", "keep_vision"}
    assert kept.change({"faces": 3, "language": "zh"}) == []
    assert kept.change({"commercial_only": True, "backends": "detector = dlib-5", "precision": "no"}) == [
        "commercial_only",
        "backends",
    ]
    assert (kept.faces(), kept.language(), kept.backends()) == (3, "zh", {"detector": "dlib-5"})
    assert kept.change({"commercial_only": True}) == [], "nothing new waits for a restart"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"faces": 0}, "from 1 to 10"),
        ({"faces": "many"}, "from 1 to 10"),
        ({"language": "xx"}, "no language 'xx'"),
        ({"precision": "fp8"}, "one of auto"),
        ({"backends": "dlib"}, "dlib is no role"),
        ({"backends": "eyes=dlib"}, "eyes is no role"),
        ({"backends": "detector=eagle"}, "no detector named eagle; there are"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_changes_nothing(
    kept: KeptSettings, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        kept.change({"faces": 5, **wrong})
    assert kept.faces() == 1


def test_a_damaged_file_is_no_settings(kept: KeptSettings, paths: Paths) -> None:
    file = paths.outputs / NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    for text in ("{", "[1]", json.dumps({"faces": "x", "precision": 7, "commercial_only": "yes", "backends": "a=b"})):
        file.write_text(text)
        assert kept.values() == {key: f.default for key, f in FIELDS.items() if f.alone is not None}


def test_flags_and_the_environment_go_before_what_is_kept(kept: KeptSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.change({"commercial_only": True, "precision": "no"})
    assert standalone.preferences(kept=kept) == Preferences(True, "no")
    assert standalone.preferences(precision="fp16", kept=kept).precision == "fp16"
    monkeypatch.setenv(standalone.COMMERCIAL_ONLY, "0")
    monkeypatch.setenv(standalone.PRECISION, "bf16")
    assert standalone.preferences(kept=kept) == Preferences(False, "bf16")


def test_serve_begins_with_what_is_kept(kept: KeptSettings, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.change({"commercial_only": True, "precision": "fp16"})
    begun: list[Any] = []
    monkeypatch.setattr(serve, "serve", lambda service, **_: begun.append(service))
    assert main.main(["serve", "--data", str(paths.outputs.parent)]) == 0
    (service,) = begun
    assert service.preferences() == Preferences(True, "fp16")
    detector = next(s for s in service.weights.serving(service.vision) if s.role == "detector")
    assert detector.name == "dlib-5"
    kept.change({"commercial_only": False, "precision": "no"})
    assert service.preferences() == Preferences(True, "no"), (
        "the precision holds at once, the licence at the next start"
    )


@pytest.mark.thorough
def test_a_host_name_that_is_kept_is_answered_to(kept: KeptSettings, service: EasyPhoto) -> None:
    def status(app: Any) -> int:
        with served(app) as address:
            headers = {"Host": "photos.example.org"}
            return httpx.get(f"{address}/easyphoto/v1/people", headers=headers, trust_env=False).status_code

    assert status(serve.app(service)) == 403
    kept.change({"allow_hosts": "photos.example.org, .example.net"})
    assert status(serve.app(service)) == 200


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    return acting_service(paths, monkeypatch)


def test_the_tab_says_what_is_wrong_in_the_readers_language(kept: KeptSettings) -> None:
    import gradio as gr

    tab = SettingsTab(kept, lambda request: request.language)
    with gr.Blocks():
        tab.build()
    held = {component: component.value for component in tab.components.values()}
    english, chinese = SimpleNamespace(language="en"), SimpleNamespace(language="zh")
    held[tab.components["backends"]] = "detector=eagle"
    assert "there are insightface" in tab._saved(held, english)[tab.note]  # type: ignore[arg-type]
    assert "可用的有 insightface" in tab._saved(held, chinese)[tab.note]  # type: ignore[arg-type]
    held[tab.components["backends"]], held[tab.components["commercial_only"]] = "", True
    assert "From the next start on: Only use weights" in tab._saved(held, english)[tab.note]  # type: ignore[arg-type]
    assert tab.loaded()[tab.components["language"]] == BROWSER and tab.loaded()[tab.components["commercial_only"]]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is a browser")
def test_the_page_shows_and_changes_the_settings(kept: KeptSettings, service: EasyPhoto, tmp_path: Path) -> None:
    with served(serve.app(service)) as address, Page(address) as page:
        page.tab(SETTINGS)
        page.wait_for("#easyphoto_settings_save")
        page.click("#easyphoto_settings_language input[value='zh']")
        page.click("#easyphoto_settings_save")
        page.wait(lambda: "设置已保存" in page.text("#easyphoto_settings_note"))  # the new language answers
        assert kept.language() == "zh"
        page.open()
        page.wait(lambda: "设置" in page.text("#easyphoto_tabs"))
        page.tab(SETTINGS)
        page.wait(lambda: "界面语言" in page.text("#easyphoto_settings_language"))
        assert page.complaints() == []
