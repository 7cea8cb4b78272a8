"""Tests of what somebody meets who opens the tabs for the first time, on a telephone too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from easyphoto import pictures
from easyphoto.events import Validated
from easyphoto.jobs import Job
from easyphoto.service import NOBODY, EasyPhoto
from easyphoto.training.photos import PhotoOutcome, PhotoReport, PhotoVerdict
from easyphoto.ui import compat, history_view, likeness_view, panel
from easyphoto.ui.people_desk import nobody, user_id_of
from easyphoto.ui.queue_desk import QueueDesk
from tests.acting import Pace, photos_in, trained
from tests.fakes import blank
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = pytest.mark.filterwarnings("ignore")

TRAINING, PORTRAITS, QUEUE = "#easyphoto_train_progress", "#easyphoto_generate_progress", "#easyphoto_queue_list"
VIDEO = 4
WIDEST = "return document.documentElement.scrollWidth"
TALLEST_NAME = """return Math.max(...Array.from(
    document.querySelectorAll('#easyphoto .head [data-testid="block-info"]'),
    (name) => name.offsetParent ? name.getBoundingClientRect().height : 0))"""
ROW_AND_A_HALF = 50


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
@pytest.mark.parametrize("pace", [4], indirect=True)
def test_on_a_telephone_what_comes_of_a_click_is_seen(
    address: str, service: EasyPhoto, pace: Pace, tmp_path: Path
) -> None:
    with Page(address, language="zh-CN") as page:
        page.telephone()
        page.wait(lambda: page.text("#easyphoto_train_start") == "开始训练")
        assert page.in_sight("#easyphoto_train_start")
        assert not any(page.one(f"#easyphoto_train_{name}").is_displayed() for name in ("resume", "add", "cancel"))
        page.click("#easyphoto_train_start")
        page.wait(lambda: page.in_sight("#easyphoto_train_error .easyphoto-error"))
        page.upload("easyphoto_train_upload", photos_in(tmp_path / "photos"))
        page.wait_for("#easyphoto_train_report figure.taken", 4)
        assert page.one("#easyphoto_train_add").is_displayed()
        page.type("#easyphoto_train_user_id", "小美")
        page.unfold()
        page.settle()
        assert page.script(TALLEST_NAME) < ROW_AND_A_HALF
        assert page.script(WIDEST) <= 400
        page.click("#easyphoto_train_start")
        page.wait_for(f"{TRAINING} [data-state=running] polyline.loss")
        page.wait(lambda: page.in_sight(f"{TRAINING} .easyphoto-panel"))
        assert page.in_sight("#easyphoto_train_cancel")
        page.wait(lambda: "正在训练 小美" in page.text(QUEUE))  # it is unfolded, and was empty when the page came
        page.click("#easyphoto_train_cancel")
        page.wait_for(f"{TRAINING} [data-state=cancelled]")
        page.wait(lambda: page.in_sight("#easyphoto_train_resume"))
        pace.go()
        page.click("#easyphoto_train_resume")
        page.wait_for(f"{TRAINING} [data-state=finished]")

        page.tab(VIDEO)
        page.click("#easyphoto_video_start")
        page.wait(lambda: page.in_sight("#easyphoto_video_error .easyphoto-error"))
        assert page.complaints() == []


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
def test_a_portrait_is_downloaded_and_looked_at_beside_its_template(
    address: str, service: EasyPhoto, tmp_path: Path
) -> None:
    with Page(address, language="zh-CN") as page:
        page.tab(1)
        chosen = "#easyphoto_generate_user_1 input"
        page.wait(lambda: page.attribute(chosen, "value") == "无")
        page.click("#easyphoto_generate_start")
        page.wait(lambda: "没有选择人物" in page.text("#easyphoto_generate_error"))
        trained(service, "ada")
        page.open()
        page.downloads_to(tmp_path / "downloads")
        (tmp_path / "downloads").mkdir()
        page.tab(1)
        page.wait(lambda: page.attribute(chosen, "value") == "ada")
        page.pick_preset(0)  # lets go of the photograph that is chosen first
        page.click_words("#easyphoto_generate_presets .thumbnail-item", "mine")
        page.wait(lambda: "mine" in page.text("#easyphoto_generate_chosen"))
        page.settle()
        page.click("#easyphoto_generate_start")
        page.wait_for(f"{PORTRAITS} [data-state=finished]")
        page.click("#easyphoto_generate_take a")
        (made,) = service.paths.portraits.rglob("*.png")
        assert page.downloaded(tmp_path / "downloads").read_bytes() == made.read_bytes()
        page.click("#easyphoto_generate_portraits .thumbnail-item")
        page.wait_for("#easyphoto_generate_portraits button[title=下载]")
        assert not page.all("#easyphoto_generate_portraits button[title=分享]")
        page.wait_for("#easyphoto_generate_portraits button[title=全屏]")
        page.click("#easyphoto_generate_take button")
        page.wait_for("#easyphoto_history_one .easyphoto-compare")
        assert page.complaints() == []


def test_nobody_is_called_so_in_the_language_of_the_page() -> None:
    assert nobody("zh") == ("无", NOBODY) and nobody("en") == (NOBODY, NOBODY)
    assert user_id_of("无", []) == NOBODY and user_id_of("none", []) == NOBODY and user_id_of("ada", []) == "ada"


def test_a_card_says_its_verdict_once(tmp_path: Path) -> None:
    (photo,) = photos_in(tmp_path, 1)
    reason = "Taken: the face fills the photo; photos that show the whole head teach more."
    verdict = PhotoVerdict(photo.name, "", PhotoOutcome.TAKEN, reason, likeness=1.0)
    shown = panel.photos([photo], PhotoReport((verdict,), ""), "en")
    assert "<b>taken</b>" in shown and "<span>The face fills the photo; photos" in shown
    assert "<span>Taken" not in shown


def test_a_likeness_is_said_in_words_and_what_follows_from_it_is_folded(service: EasyPhoto, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    pictures.save_jpg(picture, blank(64, 64))

    def work(job: Job[None]) -> None:
        job.emit(Validated(step=40, likeness=0.6, pictures=(str(picture),)))

    job = service.jobs.submit("train", "ada", work)
    job.wait(60)
    assert "Step 40: a little alike, likeness 0.60" in panel.validation(job, "en")
    assert "第 40 步：有点像，相似度 0.60" in panel.validation(job, "zh")
    told = {"word": "looks like the person", "copying": 0.1, "held_out": ["a.jpg"], "pictures": 2}
    html = likeness_view.bars(told, "en")
    shown, folded = html.split("<details>")
    assert "Looks like the person." in shown and "Judged by one embedder" in shown
    assert "Copying" in folded and "a.jpg" in folded


def test_what_begins_at_once_waits_for_nobody(service: EasyPhoto) -> None:
    stuck = SimpleNamespace(state="queued", what="train", subject="ada", ended=False)
    queue = SimpleNamespace(position=lambda job: 0)
    assert panel._state(stuck, queue, panel.View(), "en") == "Begins in a moment."  # type: ignore[arg-type]


def test_an_empty_queue_says_so_to_the_style(service: EasyPhoto) -> None:
    desk = QueueDesk(service, compat.language)
    assert 'data-filled="false"' in desk._table([], "en")
    job = service.jobs.submit("train", "ada", lambda job: None)
    job.wait(60)
    assert 'data-filled="true"' in desk._table([job], "en")


def test_the_link_to_a_portrait_works_where_the_page_serves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "a <b> 小美.png"
    pictures.save_png(made, blank(8, 8))
    here = history_view.made_just_now(made, made.name, "zh")
    assert "gradio_api/file=" in here and "%E5%B0%8F" in here and "<b>" not in here and "下载" in here
    monkeypatch.delattr(gr, "set_static_paths")
    assert 'href="data:image/png;base64,' in history_view.made_just_now(made, made.name, "zh")
    made.unlink()
    assert "download" not in history_view.made_just_now(made, made.name, "zh")
