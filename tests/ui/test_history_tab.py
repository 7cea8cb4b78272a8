"""Tests of the Portraits and the People tab, without a browser and with one."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from easyphoto import pictures
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.service.requests import OVER_API
from easyphoto.ui import compat
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.history_tab import ALIKE, ELSEWHERE, HERE, NEWEST, HistoryTab
from easyphoto.ui.people_tab import PeopleTab
from easyphoto.ui.settings import Settings
from tests.acting import photos_in, templates_in, trained
from tests.fakes import blank, draw_face
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = pytest.mark.filterwarnings("ignore")
ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en"})
PEOPLE, PORTRAITS = 6, 5


def history(service: EasyPhoto) -> HistoryTab:
    tab = HistoryTab(service, compat.language)
    with gr.Blocks():
        tab.build()
    return tab


@pytest.mark.thorough
def test_portraits_are_found_by_person_origin_and_likeness(service: EasyPhoto, tmp_path: Path) -> None:
    for name, who in (("ada", 20), ("bea", 60)):
        trained(service, name, who)
    given = tuple(templates_in(tmp_path, 2))
    for people, templates, origin in ((("ada",), given, ""), (("bea",), given[:1], ""), (("bea",), given, OVER_API)):
        service.generate(PortraitRequest(people, templates, origin=origin)).wait(60)
    tab = history(service)

    def shown(person: str | None = None, origin: str = HERE, order: str = NEWEST) -> Any:
        return tab._look({tab.person: person, tab.origin: origin, tab.order: order}, ENGLISH)

    everything = shown()
    assert everything[tab.person]["choices"] == ["everybody", "ada", "bea"]
    assert [len(shown(who)[tab.names]) for who in (None, "everybody", "ada", "bea")] == [3, 3, 2, 1]
    assert len(shown("bea", ELSEWHERE)[tab.names]) == 2 and shown("ada", ELSEWHERE)[tab.names] == []
    assert "no portraits like that" in shown("ada", ELSEWHERE)[tab.note]
    likeness = {tab.history.name(made.path): made.likeness for made in tab.history.list()}
    ordered = [likeness[name] for name in shown(order=ALIKE)[tab.names]]
    assert ordered == sorted(ordered, reverse=True)
    service.rename_person("ada", "Ada L")
    assert len(shown("Ada L")[tab.names]) == 2 and "ada" not in shown()[tab.person]["choices"]
    data = {tab.person: "Ada L", tab.origin: HERE, tab.order: NEWEST}
    packed = tab._packed(data, ENGLISH)
    assert len(zipfile.ZipFile(packed[tab.file]["value"]).namelist()) == 2


def test_a_portrait_is_shown_beside_its_template_and_made_again(service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    mine = next(t for t in service.templates.everything() if t.own)
    (other,) = templates_in(tmp_path / "other", 1)
    pictures.save_png(other, pictures.load(other)[::-1].copy())
    service.generate(PortraitRequest(("ada", "none"), (mine.path, other))).wait(60)
    tab, generate = history(service), GenerateTab(service, Settings(), compat.language)
    with gr.Blocks():
        generate.build()
    names = {one.template: tab.history.name(one.path) for one in tab.history.list()}
    both, text = tab._selected(SimpleNamespace(index=0), [names[mine.path.name]], ENGLISH)  # type: ignore[arg-type]
    assert both.count("<img") == 2 and "Sampler" in text
    alone, _ = tab._selected(SimpleNamespace(index=0), [names[other.name]], ENGLISH)  # type: ignore[arg-type]
    assert alone.count("<img") == 1 and "not among the templates" in alone
    gone, _ = tab._selected(SimpleNamespace(index=0), ["../../person.json"], ENGLISH)  # type: ignore[arg-type]
    assert "there any more" in gone

    filled = generate._filled(names[mine.path.name], ENGLISH)
    assert filled[generate.faces] == 2 and filled[generate.picker.chosen]["value"] == [mine.title]
    assert [filled[user]["value"] for user in generate.users[:3]] == ["ada", "none", "none"]
    assert filled[generate._form.components["seed"]]["value"] >= 0
    assert "upload that picture" in generate._filled(names[other.name], ENGLISH)[generate.error]
    before = len(service.templates.list())
    used = generate._used(names[other.name], ENGLISH)
    assert len(service.templates.list()) == before + 1 and len(used[generate.picker.chosen]["value"]) == 1
    assert "there any more" in generate._used("../secret.png", ENGLISH)[generate.picker.preset_note]


def test_people_are_shown_with_what_can_be_done(service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    trained(service, "bea")
    half = service.people.at("cleo").job.state
    pictures.write_bytes(half, b"state")
    tab = PeopleTab(service, compat.language)
    with gr.Blocks():
        page = gr.State("")
        tab.build()
        tab.bind(gr.Tab("People"), page, [], lambda user_id, page, language: {})
    cards = tab._look(ENGLISH)[tab.list]
    assert [f'data-person="{name}"' in cards for name in ("ada", "bea", "cleo")] == [True, True, True]
    assert cards.count("Likeness 0.82, quite alike.") == 2 and cards.count(">Resume<") == 1
    exported = Path(tab._export("ada", ENGLISH)[tab.file]["value"])
    assert exported.name == "ada.easyphoto.zip"
    taken = tab._bring({tab.bring: [str(exported)], page: ""}, ENGLISH)
    assert "already a person" in taken[tab.note]
    assert "is packed" not in tab._ask_sure("ada", ENGLISH)[tab.note]
    gone = tab._delete({tab.chosen: "ada", tab.portraits: False, tab.name: "", page: ""}, ENGLISH)
    assert "ada was deleted" in gone[tab.note] and 'data-person="ada"' not in gone[tab.list]
    back = tab._bring({tab.bring: [str(exported)], page: ""}, ENGLISH)
    assert "Imported: ada" in back[tab.note] and 'data-person="ada"' in back[tab.list]
    refused = tab._rename({tab.chosen: "ada", tab.name: "bea", tab.portraits: False, page: ""}, ENGLISH)
    assert "already a person" in refused[tab.note]
    renamed = tab._rename({tab.chosen: "ada", tab.name: "Ada", tab.portraits: False, page: ""}, ENGLISH)
    assert "Called before: ada." in renamed[tab.list]
    assert "never trained" not in tab._export("cleo", ENGLISH)[tab.note]


@pytest.mark.slow
@pytest.mark.usefixtures("needs_browser")
def test_from_a_person_to_a_portrait_and_back(address: str, service: EasyPhoto) -> None:
    trained(service, "ada")
    trained(service, "bea", 60)
    mine = next(t for t in service.templates.everything() if t.own)
    service.generate(PortraitRequest(("ada",), (mine.path,))).wait(60)
    user = "#easyphoto_generate_user_1 input"
    with Page(address) as page:
        page.tab(PEOPLE)
        page.wait_for(".easyphoto-person", 2)
        page.click(".easyphoto-person[data-person=bea] .first")
        page.wait(lambda: page.one(user).is_displayed() and page.one(user).get_attribute("value") == "bea")
        page.tab(PORTRAITS)
        page.click("#easyphoto_history_gallery .thumbnail-item")
        page.wait_for("#easyphoto_history_one .easyphoto-compare img", 2)
        page.script(
            "const s = document.querySelector('.easyphoto-compare input'); s.value = 20;"
            "s.dispatchEvent(new Event('input', { bubbles: true }))"
        )
        style = "return getComputedStyle(document.querySelector('.easyphoto-compare img.before')).clipPath"
        page.wait(lambda: "80%" in page.script(style))
        page.click("#easyphoto_history_one .easyphoto-do button", 1)
        page.wait(lambda: page.one(user).is_displayed() and page.one(user).get_attribute("value") == "ada")
        page.wait(lambda: "The recipe is filled in" in page.text("#easyphoto_generate_error"))
        page.tab(PEOPLE)
        page.click(".easyphoto-person[data-person=ada] [data-ask=easyphoto_persons_rename]")
        page.type("#easyphoto_persons_name", "Ada L")
        page.click("#easyphoto_persons_renamed")
        page.wait(lambda: "The person is called Ada L now" in page.text("#easyphoto_persons_note"))
        page.click(".easyphoto-person[data-person='Ada L'] [data-ask=easyphoto_persons_delete]")
        page.click("#easyphoto_persons_sure")
        page.wait(lambda: len(page.all(".easyphoto-person")) == 1)
        assert page.complaints() == []


@pytest.mark.slow
@pytest.mark.usefixtures("needs_browser")
def test_somebody_without_a_training_is_added_and_faces_are_given_by_clicks(
    address: str, service: EasyPhoto, tmp_path: Path
) -> None:
    trained(service, "ann")
    group = draw_face(draw_face(blank(480, 400), (120, 190), 80, who=57), (360, 200), 80, who=23)
    pictures.save_png(tmp_path / "group.png", group)

    def user(face: int) -> str:
        return page.attribute(f"#easyphoto_generate_user_{face} input", "value")

    with Page(address) as page:
        page.upload("easyphoto_train_upload", photos_in(tmp_path / "photos", who=60))
        page.wait_for("#easyphoto_train_report figure.taken", 4)
        page.type("#easyphoto_train_user_id", "bob")
        page.click("#easyphoto_train_add")
        page.click("#easyphoto_train_error .easyphoto-next button")
        page.wait(lambda: user(1) == "bob (not trained)")
        page.tab(1, "#easyphoto_generate_templates")
        page.upload("easyphoto_generate_single", [tmp_path / "group.png"])
        page.click("#easyphoto_generate_show_faces")
        crops = "#easyphoto_generate_crops .thumbnail-item"
        page.wait_for(crops, 2)
        page.wait(lambda: page.one("#easyphoto_generate_user_2").is_displayed() and user(2) == "none")
        page.click(crops, 1)
        page.wait(lambda: user(2) == "ann")
        page.click(crops)
        page.wait(lambda: user(1) == "none" and user(2) == "ann")
        assert page.complaints() == []
