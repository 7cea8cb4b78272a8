"""Tests, without a browser, of where the Inference tab takes its templates from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easyphoto.errors import InvalidRequest
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat
from easyphoto.ui.template_picker import MANY, PRESETS, SINGLE, TEXT, TemplatePicker
from tests.acting import templates_in

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
ASKED: Any = SimpleNamespace(headers={"accept-language": "en"})


@pytest.fixture
def tab(service: EasyPhoto) -> TemplatePicker:
    import gradio as gr

    tab = TemplatePicker(service, compat.language)
    with gr.Blocks():
        tab.build(lambda: None)
    return tab


def taken(tab: TemplatePicker, mode: str, **held: Any) -> tuple[Any, ...]:
    data = {tab.mode: mode, tab.chosen: [], tab.single: None, tab.many: []}
    return tab.templates({**data, **{getattr(tab, name): value for name, value in held.items()}})


def test_the_open_tab_decides(tab: TemplatePicker, service: EasyPhoto, tmp_path: Path) -> None:
    files = templates_in(tmp_path / "up", 2)
    mine = service.templates.get("mine").path
    held = {"chosen": ["mine"], "single": str(files[0]), "many": [str(f) for f in files]}
    assert taken(tab, PRESETS, **held) == (mine,)
    assert taken(tab, SINGLE, **held) == (files[0],)
    assert taken(tab, MANY, **held) == tuple(files)
    assert taken(tab, TEXT, **held) == ()
    for mode in (PRESETS, SINGLE, MANY):
        with pytest.raises(InvalidRequest, match="no template"):
            taken(tab, mode)


def test_a_click_chooses_and_another_lets_go(tab: TemplatePicker) -> None:
    last = len(tab.titles()) - 1
    click = SimpleNamespace(index=last)
    chosen = tab.preset_clicked(click, [])  # type: ignore[arg-type]
    assert chosen == ["mine"]
    assert tab.preset_clicked(click, chosen) == []  # type: ignore[arg-type]
    assert tab.preset_clicked(SimpleNamespace(index=99), ["mine"]) == ["mine"]  # type: ignore[arg-type]


def test_own_presets_come_and_go_and_others_stay(tab: TemplatePicker, service: EasyPhoto, tmp_path: Path) -> None:
    files = templates_in(tmp_path / "up", 2)
    updates = tab.add({tab.add_own: [str(f) for f in files], tab.chosen: []}, ASKED)
    assert "template-0, template-1 was added" in updates[tab.preset_note]
    assert {"template-0", "template-1"} <= {t.name for t in service.templates.list() if t.own}
    again = tab.add({tab.add_own: [str(files[0])], tab.chosen: []}, ASKED)
    assert "already a template" in again[tab.preset_note]

    shipped = [t.title for t in service.templates.list() if not t.own]
    tab.delete([*shipped, "template-0"], ASKED)
    assert [t.title for t in service.templates.list() if not t.own] == shipped
    assert "template-0" not in {t.name for t in service.templates.list()}
    assert "Only templates that you added" in tab.delete(shipped, ASKED)[tab.preset_note]


def test_a_broken_own_template_hides_no_other(tab: TemplatePicker, service: EasyPhoto) -> None:
    (service.templates.get("mine").path.parent / "broken.png").write_bytes(b"not a picture")
    shown = tab.fresh()[tab.presets]
    assert [title for _, title in shown["value"]] == [t.title for t in service.templates.list()]
    assert "broken" in [title for _, title in shown["value"]]


def test_of_a_folder_only_its_pictures_are_taken(tab: TemplatePicker, tmp_path: Path) -> None:
    files = templates_in(tmp_path / "up", 2)
    text = tmp_path / "up" / "notes.txt"
    text.write_text("no picture")
    updates = tab.many_uploaded([str(p) for p in (*files, text)], [str(files[0])], ASKED)
    assert updates[tab.many] == [str(f) for f in files]
    assert "2 templates" in updates[tab.many_shown]
