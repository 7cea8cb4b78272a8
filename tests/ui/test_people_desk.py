"""Tests, without a browser, of deleting people and of how people are called in the lists."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easyphoto import pictures
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.ui import compat
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.people_desk import PeopleDesk, called, user_id_of
from easyphoto.ui.settings import Settings
from easyphoto.ui.train_tab import TrainTab
from tests.acting import photos_in, templates_in, trained

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
ASKED: Any = SimpleNamespace(headers={"accept-language": "en"})


@pytest.fixture
def desk(service: EasyPhoto) -> PeopleDesk:
    import gradio as gr

    desk = PeopleDesk(service, compat.language)
    with gr.Blocks():
        desk.build()
        desk.bind(gr.State(""), [], lambda user_id, page, language: {"gone": user_id})
    return desk


def mark(service: EasyPhoto, name: str, **marks: object) -> None:
    path = service.people.folder(name) / "person.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    pictures.write_bytes(path, json.dumps({**known, **marks}).encode())


def test_who_is_half_trained_or_damaged_is_called_so(service: EasyPhoto) -> None:
    for name in ("ada", "bea", "cleo", "dora"):
        trained(service, name)
    mark(service, "bea", cancelled=True)
    mark(service, "cleo", works=False)
    (service.people.folder("dora") / "ref_image.jpg").write_bytes(b"no picture")
    people = service.people.list()
    assert [called(p, "en") for p in people] == [
        "ada",
        "bea (stopped half-way)",
        "cleo (the likeness did not rise)",
        "dora (damaged)",
    ]
    for language in ("en", "zh"):
        assert [user_id_of(called(p, language), people) for p in people] == ["ada", "bea", "cleo", "dora"]
    assert user_id_of("somebody", people) == "somebody" and user_id_of(None, people) == ""


def test_a_deletion_is_asked_about_and_says_what_went(desk: PeopleDesk, service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    service.generate(PortraitRequest(("ada",), tuple(templates_in(tmp_path, 1)))).wait(60)
    data = {desk.who: "ada", desk.portraits: False, desk._page: ""}
    assert "stay unless you tick the box: 1" in desk._asked(data, ASKED)[desk.note]
    assert "go too: 1" in desk._asked({**data, desk.portraits: True}, ASKED)[desk.note]
    assert [p.user_id for p in service.people.list()] == ["ada"], "nothing is deleted by a question"

    done = desk._deleted(data, ASKED)
    assert "ada was deleted" in done[desk.note] and "kept: 1" in done[desk.note] and done["gone"] == "ada"
    assert service.people.list() == [] and len(service.portraits_of("ada")) == 1
    assert "There is no" in desk._deleted(data, ASKED)[desk.note]


def test_portraits_go_too_when_that_was_asked_for(desk: PeopleDesk, service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    service.generate(PortraitRequest(("ada",), tuple(templates_in(tmp_path, 1)))).wait(60)
    desk._deleted({desk.who: "ada", desk.portraits: True, desk._page: ""}, ASKED)
    assert service.portraits_of("ada") == [] and not list(service.paths.portraits.rglob("*.png"))


def test_nobody_chosen_deletes_nobody(desk: PeopleDesk) -> None:
    assert "Choose whom" in desk._asked({desk.who: None, desk.portraits: False}, ASKED)[desk.note]


@pytest.mark.thorough
def test_who_was_deleted_is_no_longer_chosen(service: EasyPhoto) -> None:
    import gradio as gr

    trained(service, "ada")
    tab = GenerateTab(service, Settings(), compat.language)
    with gr.Blocks():
        tab.build()
        tab.bind(gr.State(""), gr.HTML(""), lambda page, language: "")
    done = tab.desk._deleted({tab.desk.who: "ada", tab.desk.portraits: False, tab.desk._page: ""}, ASKED)
    assert done[tab.desk.who]["value"] is None and done[tab.desk.who]["choices"] == []
    assert "ada was deleted" in done[tab.desk.note]


def test_photos_become_a_person_without_a_training(service: EasyPhoto, tmp_path: Path) -> None:
    import gradio as gr

    tab = TrainTab(service, compat.language)
    with gr.Blocks():
        page, first = gr.State("page"), gr.Textbox()
        tab.build(page)
        tab.bind([first], lambda user_id, picked, language: {first: user_id}, first)
    tab._uploaded.of = lambda page: photos_in(tmp_path, 2)  # type: ignore[method-assign]
    data = {tab.page: "page", tab.user_id: "ada", first: "none"}
    done = tab._add(data, ASKED)
    assert done[first] == "ada" and "ada is there, from 2 photos" in done[tab.error]
    (person,) = service.people.list()
    assert (person.trained, called(person, "en")) == (False, "ada (not trained)")
    assert user_id_of("ada (not trained)", [person]) == "ada"
    assert "already a person" in tab._add(data, ASKED)[tab.error]
