"""Tests of the tabs as a person uses them, in English and in Chinese: upload, look, train, watch, make portraits."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.service import EasyPhoto
from easyphoto.ui.texts import dictionary
from tests.acting import Pace, photos_in, trained
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = [pytest.mark.usefixtures("needs_browser"), pytest.mark.filterwarnings("ignore")]

PROGRESS, PORTRAITS = "#easyphoto_train_progress", "#easyphoto_generate_progress"


@pytest.mark.thorough
@pytest.mark.parametrize("pace", [5], indirect=True)
def test_from_photos_to_a_portrait(address: str, service: EasyPhoto, pace: Pace, tmp_path: Path) -> None:
    with Page(address) as page:
        page.click("#easyphoto_train_start")
        page.wait_for("#easyphoto_train_error .easyphoto-error")
        assert "user id is empty" in page.text("#easyphoto_train_error")

        page.upload("easyphoto_train_upload", photos_in(tmp_path / "photos"))
        page.wait_for("#easyphoto_train_report figure.taken", 4)
        assert "photos will be taken" in page.text("#easyphoto_train_report")

        page.type("#easyphoto_train_user_id", "小美")
        page.click("#easyphoto_train_start")
        page.wait_for(f"{PROGRESS} [data-state=running] polyline.loss")
        seen = page.attribute(f"{PROGRESS} polyline.loss", "points")
        pace.go(15)
        page.wait(lambda: len(page.attribute(f"{PROGRESS} polyline.loss", "points")) > len(seen))
        page.open()
        pace.go()
        page.wait_for(f"{PROGRESS} [data-state=finished] circle.likeness", 3, seconds=120)
        assert "小美 is trained. Likeness 0.82" in page.text(PROGRESS)
        assert len(page.all("#easyphoto_train_validation img")) == 3
        assert [p.user_id for p in service.people.list()] == ["小美"]

        page.tab(1)
        page.wait(lambda: page.one("#easyphoto_generate_user_1 input").get_attribute("value") == "小美")
        page.pick_preset(0)
        page.pick_preset(2)
        page.click("#easyphoto_generate_start")
        page.wait_for(f"{PORTRAITS} [data-state=finished]")
        assert "Portraits made: 1" in page.text(PORTRAITS)
        page.wait_for("#easyphoto_generate_portraits img")
        page.wait(lambda: "likeness 0.9" in page.text("#easyphoto_generate_portraits"))
        page.wait(lambda: "Sampler" in page.one("#easyphoto_generate_recipe textarea").get_attribute("value"))
        assert page.complaints() == []


@pytest.mark.thorough
@pytest.mark.parametrize("pace", [0], indirect=True)
def test_cancel_and_what_cannot_be_done(address: str, service: EasyPhoto, tmp_path: Path) -> None:
    with Page(address) as page:
        page.upload("easyphoto_train_upload", photos_in(tmp_path / "photos"))
        page.wait_for("#easyphoto_train_report figure.taken", 4)
        page.type("#easyphoto_train_user_id", "ada")
        page.click("#easyphoto_train_start")
        page.wait_for(f"{PROGRESS} [data-state=running]")
        page.click("#easyphoto_train_cancel")
        page.wait_for(f"{PROGRESS} [data-state=cancelled]")
        page.click("#easyphoto_train_clear")
        page.wait(lambda: not page.all("#easyphoto_train_report figure"))
        page.tab(1)
        page.click("#easyphoto_generate_start")
        page.wait_for("#easyphoto_generate_error .easyphoto-error")
        assert "Nobody was chosen" in page.text("#easyphoto_generate_error")
        assert page.complaints() == []


@pytest.mark.thorough
def test_chinese_by_the_browsers_language(address: str, service: EasyPhoto) -> None:
    trained(service, "小美")
    known = {english for english, chinese in dictionary().items() if english != chinese}
    with Page(address, language="zh-CN") as page:
        page.wait(lambda: page.text("#easyphoto_train_start") == "开始训练")
        page.tab(1)
        page.wait(lambda: page.text("#easyphoto_generate_start") == "生成")
        page.unfold()
        page.wait(lambda: {"文生写真", "第一次扩散步数", "超分方法"} <= set(page.words()))
        page.wait(lambda: not known & set(page.words()))
        page.tab(0)
        page.unfold()
        page.wait(lambda: {"训练分辨率", "LoRA 融合", "裁剪比例（场景）"} <= set(page.words()))
        page.wait(lambda: not known & set(page.words()))
        page.tab(1)
        page.pick_preset(0)
        page.pick_preset(2)
        page.click("#easyphoto_generate_start")
        page.wait_for(f"{PORTRAITS} [data-state=finished]")
        assert "生成了 1 张写真" in page.text(PORTRAITS)
        page.wait(lambda: "相似度" in page.text("#easyphoto_generate_portraits"))
        assert page.complaints() == []
