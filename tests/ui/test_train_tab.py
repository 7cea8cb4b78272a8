"""What the Train tab's form shows and asks for, without a browser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easyphoto import families
from easyphoto.config import TRAIN_MODES, TRAINING_STYLES, Family, TrainConfig, declared
from easyphoto.ports import Checkpoint
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.ui import compat
from easyphoto.ui.train_tab import DECIDING, TrainTab
from tests.acting import photos_in
from tests.fakes import FAKE_CHECKPOINT, FakeHost

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
DEMO = Checkpoint("demo", Path("demo.safetensors"), Family.BENCH)


@pytest.fixture
def tab(service: EasyPhoto) -> TrainTab:
    """The tab of a host whose first model is the demo model."""
    import gradio as gr

    assert isinstance(service.host, FakeHost)
    service.host.available = (DEMO, FAKE_CHECKPOINT)
    tab = TrainTab(service, compat.language)
    with gr.Blocks():
        tab.build(gr.Textbox())
    return tab


def touched(tab: TrainTab, shown: dict[Any, Any], **values: str) -> dict[Any, Any]:
    """What the form holds when a user has changed these of the fields that decide over others."""
    components = tab._form.components
    shown = {**shown, **{components[name]: value for name, value in values.items()}}
    updates = tab._defaults_changed(shown)
    assert not {components[name] for name in DECIDING} & set(updates), "what was just chosen isn't changed back"
    return {**shown, **{component: update["value"] for component, update in updates.items()}}


def values(tab: TrainTab, shown: dict[Any, Any]) -> dict[str, Any]:
    return {name: shown[component] for name, component in tab._form.components.items()}


def expected(family: Family, **chosen: Any) -> dict[str, Any]:
    config = families.spec(family).train_config(**chosen)
    return {d.name: getattr(config, d.name) for d in declared(TrainConfig) if not d.param.legacy}


def test_the_way_to_train_fills_in_its_values(tab: TrainTab) -> None:
    first = {component: component.value for component in tab._form.components.values()}
    model = {"sd_model_checkpoint": "demo"}
    quick, original = TRAINING_STYLES
    assert values(tab, first) == expected(Family.BENCH, **model)
    shown = touched(tab, first, training_style=original)
    assert values(tab, shown) == expected(Family.BENCH, **model, training_style=original)
    assert (values(tab, shown)["patience"], values(tab, shown)["max_train_steps"]) == (0, 160)
    other = touched(tab, shown, sd_model_checkpoint="fake")
    assert values(tab, other) == expected(Family.SD1, sd_model_checkpoint="fake", training_style=original)
    scene = touched(tab, other, train_mode_choose=TRAIN_MODES[1])
    assert values(tab, scene)["rank"] == 256 and values(tab, scene)["fusion"] == "average"
    assert values(tab, touched(tab, shown, training_style=quick)) == values(tab, first)


def test_what_is_changed_after_the_way_was_chosen_is_asked_for(
    tab: TrainTab, service: EasyPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {component: component.value for component in tab._form.components.values()}
    shown = touched(tab, first, training_style=TRAINING_STYLES[1])
    shown[tab._form.components["patience"]] = 4.0
    asked: list[TrainRequest] = []
    train = service.train
    monkeypatch.setattr(service, "train", lambda request: (asked.append(request), train(request))[1])
    tab._uploaded.add("p" * 32, photos_in(tmp_path / "photos", 3), [])
    data = {**shown, tab.page: "p" * 32, tab.user_id: "ada"}
    tab._start(data, SimpleNamespace(headers={"accept-language": "en"}))  # type: ignore[arg-type]
    config = asked[0].config
    assert config is not None
    assert (config.training_style, config.patience, config.fusion) == (TRAINING_STYLES[1], 4, "average")
    next(job for job in service.jobs.list() if job.what == "train").wait(60)
