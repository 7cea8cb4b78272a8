"""Tests of the table of WebUIs: each is recognised, and what only one of them does is known."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import easyphoto.hosts.webui
from easyphoto.catalog import Catalog
from easyphoto.catalog.catalog import Look
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.webui import controlnet, extension
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.dialects import DIALECTS
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.hosts.webui.settings_page import BACKENDS, BROWSER, LANGUAGE, PRECISION, WebUISettings
from easyphoto.ports import Control, ControlRole, Txt2Img
from easyphoto.sd import tokenizers
from tests.fakes import blank
from tests.hosts.conftest import MakeWebUI
from tests.hosts.fake_webui import A1111, FORGE, NEO, REFORGE

HERE = Path(easyphoto.hosts.webui.__file__).parent
NAMES = re.compile(r"(?<![A-Za-z])((re)?forge(?![a-z])|a1111|automatic1111|sd-?next)", re.IGNORECASE)
VOCABULARY = "vocab.json"


@pytest.mark.parametrize("module", sorted(p.name for p in HERE.glob("*.py") if p.name != "dialects.py"))
def test_no_other_module_names_a_webui(module: str) -> None:
    said = [line for line in (HERE / module).read_text(encoding="utf-8").splitlines() if NAMES.search(line)]
    assert said == []


@pytest.mark.parametrize("dialect", [A1111, FORGE, REFORGE, NEO])
def test_each_webui_is_recognised(make: MakeWebUI, dialect: str) -> None:
    make(dialect)
    host = WebUIHost(WebUI.load())
    assert host.name == host.describe()["host"] == dialect
    assert host.controls(Family.SD1) >= {ControlRole.CANNY, ControlRole.OPENPOSE, ControlRole.COLOR}


def test_every_row_has_a_webui_that_is_tried() -> None:
    assert {row.name for row in DIALECTS} == {A1111, FORGE, REFORGE, NEO}


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (REFORGE, "Prefer Prompt"),
        (FORGE, controlnet.PROMPT_FIRST),
        (NEO, controlnet.PROMPT_FIRST),
        (A1111, controlnet.PROMPT_FIRST),
    ],
)
def test_the_mode_has_the_name_that_the_host_gives_it(make: MakeWebUI, dialect: str, name: str) -> None:
    """reForge takes a name that it doesn't know for "Balanced", and says so in its log alone."""
    canny = Control(ControlRole.CANNY, blank(64, 64))
    job = Txt2Img(prompt="", negative_prompt="", width=64, height=64, steps=1, seed=1, cfg_scale=7.0, controls=[canny])
    fake = make(dialect)
    found = controlnet.find(WebUI.load(), img2img=False)
    assert found is not None
    assert found.units(job, Family.SD1)[0]["control_mode"] == name
    del fake.modules[WebUI.load().dialect.controls.words[0]].ControlMode
    older = controlnet.find(WebUI.load(), img2img=False)
    assert older is not None
    assert older.prompt_first == controlnet.PROMPT_FIRST


def test_nothing_is_sent_to_the_server_of_somebody_else(make: MakeWebUI) -> None:
    fake = make(NEO)
    job = Txt2Img(prompt="", negative_prompt="", width=64, height=64, steps=1, seed=1, cfg_scale=7.0)
    host = WebUIHost(WebUI.load())
    host.txt2img(job)
    fake.options.data["forge_model_mode"] = "api"
    with pytest.raises(InvalidRequest, match="server of somebody else"):
        host.txt2img(job)
    assert len(fake.pictures) == 1


@pytest.mark.parametrize(
    ("dialect", "place"),
    [
        (NEO, "backend/huggingface/runwayml/stable-diffusion-v1-5/tokenizer"),
        (FORGE, "backend/huggingface/runwayml/stable-diffusion-v1-5/tokenizer"),
        (REFORGE, "ldm_patched/modules/sd1_tokenizer"),
    ],
)
def test_the_tokenizer_that_a_host_ships_is_found_wherever_its_models_are(
    make: MakeWebUI, dialect: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = make(dialect)
    fake.modules["modules.paths"].models_path = str(tmp_path / "elsewhere" / "models")  # type: ignore[attr-defined]
    monkeypatch.delenv(tokenizers.PLACE, raising=False)
    monkeypatch.setenv("EASYPHOTO_MODEL_FOLDERS", "")
    (fake.root / place).mkdir(parents=True)
    webui = WebUI.load()
    settings = WebUISettings(webui)
    folders = settings.folders(settings.paths())
    extension.tell_children(folders, webui.tokenizer)
    assert os.environ[tokenizers.PLACE] == str(fake.root / place)
    assert fake.root / place in tokenizers.folders(tmp_path / "models")
    assert folders.destinations["tokenizer"] == fake.root / place, "the Weights tab looks there too"
    assert Look(Catalog.load(), folders).path("tokenizer-vocabulary") is None


def test_a_host_without_one_is_not_told_of(make: MakeWebUI) -> None:
    make(A1111)
    assert WebUI.load().tokenizer is None


def test_after_a_training_each_host_gets_its_model_back_in_its_own_way(make: MakeWebUI) -> None:
    for dialect, expected in ((A1111, ["unloaded", "loaded"]), (REFORGE, ["unloaded", "loaded"]), (NEO, ["unloaded"])):
        fake = make(dialect, device="cuda:0")
        with WebUIHost(WebUI.load()).training():
            assert fake.moves == ["unloaded"]
        assert fake.moves == expected, dialect


# --- settings with choices -------------------------------------------------------------------------------------------


@pytest.fixture
def gradio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the section uses, without gradio: a component of gradio's, and the WebUI's own list of several."""
    module, own = ModuleType("gradio"), ModuleType("modules.ui_components")
    module.Radio, own.DropdownMulti = "radio", "several"  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "gradio", module)
    monkeypatch.setitem(__import__("sys").modules, "modules.ui_components", own)
    return module


def test_few_values_are_choices(make: MakeWebUI, gradio: Any) -> None:
    fake = make(A1111)
    fake.options.data |= {LANGUAGE: "", PRECISION: "fp16", BACKENDS: "detector = insightface, eyes=blue"}
    settings = WebUISettings(WebUI.load())
    settings.register()
    shown = fake.options.labels
    assert shown[LANGUAGE].component == shown[PRECISION].component == gradio.Radio
    assert shown[LANGUAGE].component_args == {"choices": [BROWSER, "en", "zh"]}
    assert "auto" in shown[PRECISION].component_args["choices"]
    assert shown[BACKENDS].component == "several"
    assert set(shown[BACKENDS].component_args) == {"choices"}, "the settings page gives them to an update, too"
    assert "detector=insightface" in shown[BACKENDS].component_args["choices"]
    now = fake.options.data
    assert (now[LANGUAGE], now[PRECISION], now[BACKENDS]) == (BROWSER, "fp16", ["detector=insightface"])
    assert (settings.language(), settings.precision()) == ("", "fp16")
    assert settings.vision(settings.paths())["backends"] == {"detector": "insightface"}
    now[LANGUAGE] = "zh"
    assert settings.language() == "zh"


def test_a_default_is_one_of_the_choices(make: MakeWebUI, gradio: Any) -> None:
    fake = make(NEO)
    WebUISettings(WebUI.load()).register()
    for key in (LANGUAGE, PRECISION):
        info = fake.options.labels[key]
        assert fake.options.data[key] == info.default == info.component_args["choices"][0]
    assert fake.options.data[BACKENDS] == fake.options.labels[BACKENDS].default == []
