"""Tests of the gallery of templates in the Inference tab: its filter, its marks, its download, folders of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.catalog import Catalog
from easyphoto.cli.serve import app
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from easyphoto.templates.fetched_gallery import rows
from easyphoto.ui import compat
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.settings import Settings
from easyphoto.ui.template_filter import ALL, ANY, PRESETS, YOURS
from easyphoto.ui.template_picker import TemplatePicker
from tests.acting import acting_service, portrait_of, trained
from tests.catalog.server import Answer, Mirror, serve
from tests.fakes import blank, draw_face
from tests.serving import served
from tests.templates.played_gallery import played
from tests.ui.browser import Page

pytestmark = pytest.mark.filterwarnings("ignore")
ASKED: Any = SimpleNamespace(headers={"accept-language": "en"})
SHOWN, CHOSEN = "#easyphoto_generate_presets .thumbnail-item", "#easyphoto_generate_chosen"


@pytest.fixture
def tab(service: EasyPhoto) -> TemplatePicker:
    import gradio as gr

    tab = TemplatePicker(service, compat.language)
    with gr.Blocks():
        tab.build(lambda: None)
        tab.bind()
    return tab


def holidays(folder: Path) -> Path:
    pictures.save_jpg(folder / "beach.jpg", portrait_of(3))
    pictures.save_png(
        folder / "friends.png", draw_face(draw_face(blank(600, 400), (150, 200), 120, 4), (450, 200), 120, 5)
    )
    return folder


def data(tab: TemplatePicker, gallery: str = ALL, faces: str = ANY, words: str = "", chosen: Any = ()) -> Any:
    return {tab.filter.gallery: gallery, tab.filter.faces: faces, tab.filter.words: words, tab.chosen: list(chosen)}


def greenness(path: str) -> float:
    """The share of a picture that has the colour of the mark."""
    away = np.abs(pictures.load(Path(path)).astype(int) - (22, 163, 74)).max(axis=2)
    return float((away < 60).mean())


def titles(updates: Any, tab: TemplatePicker) -> list[str]:
    return [title for _, title in updates[tab.presets]["value"]]


def test_the_filter_shows_a_gallery_words_and_a_number_of_faces(
    tab: TemplatePicker, service: EasyPhoto, tmp_path: Path
) -> None:
    service.templates.folders.link(holidays(tmp_path / "holidays"))
    shipped = [t.title for t in service.templates.list() if t.shipped]
    own = ["holidays/beach", "holidays/friends"]
    show = lambda **how: titles(tab.filter._changed(data(tab, **how), ASKED), tab)  # noqa: E731
    assert show() == [*shipped, "mine", *own]
    assert show(gallery=PRESETS) == shipped
    assert show(gallery=YOURS) == ["mine"]
    assert show(gallery="holidays") == own
    assert show(words="gra") == ["Grace Hopper"]
    nobody = tab.filter._changed(data(tab, words="nothing of the kind"), ASKED)
    assert titles(nobody, tab) == [] and "No template" in nobody[tab.found_note]
    assert show(faces="2") == [], "nobody has counted"
    note = tab.filter._changed(data(tab, faces="2"), ASKED)[tab.found_note]
    assert "3 are not counted" in note
    assert titles(tab.filter._counted(data(tab, faces="2"), ASKED), tab) == ["holidays/friends"]
    assert show(faces="1") == [*shipped, "mine", "holidays/beach"]


def test_what_is_chosen_has_a_mark_and_stays_chosen_under_another_filter(
    tab: TemplatePicker, service: EasyPhoto
) -> None:
    click = SimpleNamespace(index=0)
    chosen = tab.preset_clicked(click, ["Grace Hopper"], YOURS, ANY, "")  # type: ignore[arg-type]
    assert chosen == ["Grace Hopper", "mine"]
    marked = {title: path for path, title in tab._marked(data(tab, chosen=["mine"]))[tab.presets]["value"]}
    plain = {title: path for path, title in tab._marked(data(tab))[tab.presets]["value"]}
    assert [title for title in plain if plain[title] != marked[title]] == ["mine"]
    assert greenness(marked["mine"]) > 0.05 > greenness(plain["mine"])
    elsewhere = tab.filter._changed(data(tab, words="grace", chosen=chosen), ASKED)
    assert elsewhere[tab.chosen]["choices"] == ["Grace Hopper", "mine"], "what is chosen can be let go of"
    names = {tab.mode: "presets", tab.single: None, tab.many: [], **data(tab, words="grace", chosen=chosen)}
    assert len(tab.templates(names)) == 2


def test_a_picture_with_more_faces_than_user_ids_is_told_of(service: EasyPhoto, tmp_path: Path) -> None:
    import gradio as gr

    service.templates.folders.link(holidays(tmp_path / "holidays"))
    service.count_faces(service.templates.everything())
    tab = GenerateTab(service, Settings(), compat.language)
    with gr.Blocks():
        tab.build()
    told = lambda faces, *chosen: tab._faces_counted({tab.faces: faces, tab.picker.chosen: list(chosen)}, ASKED)  # noqa: E731
    assert "shows 2 faces" in told(1, "Grace Hopper", "holidays/friends")[tab.faces_note]
    assert told(2, "holidays/friends") == told(1, "Grace Hopper") == told(1) == {tab.faces_note: ""}


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "HF_HUB_OFFLINE", "EASYPHOTO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serve() as mirror:
        yield mirror


@pytest.fixture
def fetching(mirror: Mirror, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    """The service, whose gallery comes from the mirror."""
    catalog = played(mirror)
    monkeypatch.setattr(Catalog, "load", lambda: catalog)
    return acting_service(paths, monkeypatch)


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
def test_the_gallery_comes_with_one_click_and_is_chosen_from(fetching: EasyPhoto, mirror: Mirror) -> None:
    trained(fetching, "ada")
    vision: Any = fetching.vision
    vision.detector.faces = 1  # there are no discs in these pictures
    mirror.answers["/sari.jpg"] = [Answer(pause=0.2), Answer()]  # for each 4 kB: the bar is seen
    with served(app(fetching)) as address, Page(address) as page:
        page.tab(1)
        page.wait_for(SHOWN, 2)
        assert "27 more pictures" in page.text("#easyphoto_more_offer")
        page.click("#easyphoto_more_start")
        page.wait_for("#easyphoto_more_progress .easyphoto-bar")
        page.wait(lambda: len(page.all(SHOWN)) == 2 + len(rows()))
        page.wait(lambda: not page.one("#easyphoto_more_start").is_displayed())
        assert page.text("#easyphoto_more_offer") == ""

        page.type("#easyphoto_templates_words", "studio woman")
        page.wait(lambda: len(page.all(SHOWN)) == 4)
        page.click(SHOWN)
        page.wait(lambda: "Long hair, grey studio" in page.text(CHOSEN))
        page.wait(lambda: "-chosen" in page.one(f"{SHOWN} img").get_attribute("src"))
        page.wait_for(f"{CHOSEN} label", 2)
        assert "Black lace" not in page.text(CHOSEN), "only what is chosen is named"
        page.click("#easyphoto_generate_start")
        page.wait(lambda: "Portraits made" in page.text("#easyphoto_generate_progress"))
        assert page.complaints() == []


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
def test_a_folder_is_uploaded_as_a_gallery_and_removed(address: str, service: EasyPhoto, tmp_path: Path) -> None:
    folder = holidays(tmp_path / "up")
    with Page(address) as page:
        page.tab(1)
        page.wait_for(SHOWN, 3)
        page.click_words("#easyphoto button.label-wrap span", "Galleries of your own")
        page.wait(lambda: page.one("#easyphoto_templates_name").is_displayed())
        page.type("#easyphoto_templates_name", "Holidays")
        page.upload("easyphoto_templates_upload", [folder])
        page.wait(lambda: "Holidays is a gallery of 2 pictures" in page.text("#easyphoto_templates_note"))
        page.wait(lambda: len(page.all(SHOWN)) == 2)
        assert [g.name for g in service.templates.folders.list()] == ["Holidays"]
        page.click("#easyphoto_templates_remove")
        page.wait(lambda: "is deleted" in page.text("#easyphoto_templates_note"))
        page.wait(lambda: len(page.all(SHOWN)) == 3)
        assert service.templates.folders.list() == () and page.complaints() == []
