"""Tests of what base models are called on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from easyphoto.config import Family
from easyphoto.ports import Checkpoint
from easyphoto.service import EasyPhoto
from easyphoto.ui import model_names
from easyphoto.ui.app import build_tabs
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.settings import Settings
from easyphoto.ui.train_tab import TrainTab
from tests.acting import trained

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
DEMO = Checkpoint("bench", Path("models/bench"), Family.BENCH)
FULL = Checkpoint("dreamy.safetensors", Path("models/Stable-diffusion/dreamy.safetensors"), Family.SD1)
ASKED: Any = SimpleNamespace(language="en")


@pytest.fixture
def both(service: EasyPhoto, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    """A service whose host has the small model and a full one, with somebody who was trained on each."""
    monkeypatch.setattr(service.host, "checkpoints", lambda: [DEMO, FULL])
    for name in ("ada", "bob"):
        trained(service, name)
    people = {p.user_id: p for p in service.people.list()}
    known = [
        replace(people["ada"], family=Family.BENCH, marks={"base_model": "bench"}),
        replace(people["bob"], family=Family.SD1, marks={"base_model": "dreamy"}),
    ]
    monkeypatch.setattr(service.people, "list", lambda: known)
    return service


def test_the_small_model_is_called_a_demo_with_a_way_to_full_ones() -> None:
    assert "small demo model" in model_names.called(DEMO, "en") and "bench" in model_names.called(DEMO, "en")
    assert "演示用小模型" in model_names.called(DEMO, "zh")
    assert model_names.called(FULL, "en") == "dreamy.safetensors"
    assert 'data-open-tab="2"' in model_names.demo_hint(DEMO, "en")
    assert model_names.demo_hint(FULL, "en") == model_names.demo_hint(None, "en") == ""


def test_an_empty_base_model_says_what_the_person_was_trained_on(both: EasyPhoto) -> None:
    tab = GenerateTab(both, Settings(), lambda request: request.language)
    with gr.Blocks():
        tab.build()
    assert tab._models_for("ada", "en")[0] == ("as trained (bench: the small demo model)", "")
    assert tab._models_for("bob", "zh")[0] == ("与训练时相同（dreamy.safetensors）", "")
    assert tab._models_for("none", "en")[0] == ("as trained", "")
    assert [value for _, value in tab._models_for("bob", "en")] == ["", "bench", "dreamy.safetensors"]

    model = tab._form.components["sd_model_checkpoint"]
    picked = {tab.users[0]: "bob", model: ""}
    changed = tab._user_changed(picked, ASKED)
    assert changed[tab.demo] == "" and changed[model]["value"] == ""
    assert "Go to Weights" in tab._user_changed({**picked, tab.users[0]: "ada"}, ASKED)[tab.demo]
    assert "Go to Weights" in tab._model_changed({**picked, model: "bench"}, ASKED)[tab.demo]
    assert "value" not in tab._user_changed({**picked, model: "bench"}, ASKED)[model], "what was picked stays"


def test_a_page_that_sends_names_means_their_values(both: EasyPhoto) -> None:
    """As version 3 of gradio does, in whatever language the page is."""
    tab = GenerateTab(both, Settings(), lambda request: request.language)
    with gr.Blocks():
        tab.build()
    for language in ("en", "zh"):
        for name, value in tab._models_for("ada", language):
            assert tab._form.meant("sd_model_checkpoint", name) == value
    assert tab._form.meant("sd_model_checkpoint", "typed by hand") == "typed by hand"


def test_training_begins_with_the_demo_and_says_so(both: EasyPhoto) -> None:
    tab = TrainTab(both, lambda request: request.language)
    with gr.Blocks():
        tab.build(gr.State(""))
    model = tab._form.components["sd_model_checkpoint"]
    assert model.value == "bench" and "Go to Weights" in tab.demo.value
    mode = tab._form.components["train_mode_choose"]
    assert tab._model_changed({model: "dreamy.safetensors", mode: ""}, ASKED)[tab.demo] == ""
    assert build_tabs(both)
