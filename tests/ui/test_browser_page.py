"""Tests of what a page keeps and drops: its own job beside those of others, its photos when it is loaded again, and no
answer that comes too late."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from easyphoto.config import POSES
from easyphoto.service import EasyPhoto, PortraitRequest, TrainRequest
from tests.acting import Pace, photos_in, templates_in, trained
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = [pytest.mark.usefixtures("needs_browser"), pytest.mark.filterwarnings("ignore")]

PROGRESS, PORTRAITS = "#easyphoto_train_progress", "#easyphoto_generate_progress"
REPORT = "#easyphoto_train_report"
INFERENCE, TEXT = 1, 3


@pytest.mark.thorough
@pytest.mark.parametrize("pace", [4], indirect=True)
def test_a_page_keeps_its_photos_its_name_and_its_job(
    address: str, service: EasyPhoto, pace: Pace, tmp_path: Path
) -> None:
    with Page(address) as page:
        page.upload("easyphoto_train_upload", photos_in(tmp_path / "photos"))
        page.wait_for(f"{REPORT} figure.taken", 4)
        assert "photo-0.jpg" in page.attribute(f"{REPORT} figure", "title")
        page.type("#easyphoto_train_user_id", "ada")
        page.unfold()
        page.number("#easyphoto_train_rank", 24)
        page.click("#easyphoto_train_start")
        page.wait_for(f"{PROGRESS} [data-state=running] polyline.loss")
        page.click("#easyphoto_train_cancel")
        page.wait_for(f"{PROGRESS} [data-state=cancelled]")
        page.wait(lambda: "press Resume" in page.text(PROGRESS))

        other = service.train(TrainRequest("bea", tuple(photos_in(tmp_path / "bea", who=60))))
        page.open()
        page.wait_for(f"{PROGRESS} [data-state=cancelled]")
        page.wait(lambda: "bea (running)" in page.text(f"{PROGRESS} .easyphoto-others"))
        page.wait_for(f"{REPORT} figure.taken", 4)
        name = "#easyphoto_train_user_id textarea, #easyphoto_train_user_id input"
        page.wait(lambda: page.attribute(name, "value") == "ada")
        page.unfold()
        page.wait(lambda: page.one("#easyphoto_train_rank input[type=number]").get_attribute("value") == "24")
        pace.go()
        other.wait(60)
        page.click("#easyphoto_train_resume")
        page.wait_for(f"{PROGRESS} [data-state=finished]")
        assert "ada is trained" in page.text(PROGRESS)
        assert page.complaints() == []


@pytest.mark.thorough
def test_a_late_report_does_not_bring_cleared_photos_back(
    address: str, service: EasyPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on, check = threading.Event(), threading.Event(), service.check_photos

    def slow(photos: Any) -> Any:
        looking.set()
        go_on.wait(60)
        return check(photos)

    monkeypatch.setattr(service, "check_photos", slow)
    with Page(address) as page:
        page.upload("easyphoto_train_upload", photos_in(tmp_path / "photos"))
        assert looking.wait(60)
        page.click("#easyphoto_train_clear")
        page.wait(lambda: not page.all(f"{REPORT} figure"))
        go_on.set()
        page.upload("easyphoto_train_upload", photos_in(tmp_path / "two", 2, who=60))
        page.wait(lambda: "of 2 photos" in page.text(REPORT))
        assert len(page.all(f"{REPORT} figure")) == 2


@pytest.mark.thorough
def test_a_failure_is_red_and_goes_with_its_inputs(address: str, service: EasyPhoto, tmp_path: Path) -> None:
    with Page(address) as page:
        page.tab(INFERENCE)
        page.click("#easyphoto_generate_nobody button")
        page.wait(lambda: page.one("#easyphoto_train_start").is_displayed())
        trained(service, "ada")
        page.open()
        page.tab(INFERENCE)
        page.wait(lambda: page.one("#easyphoto_generate_user_1 input").get_attribute("value") == "ada")
        page.click("#easyphoto_generate_start")  # no disc in the photograph that is chosen first
        failed = f"{PORTRAITS} .easyphoto-state.failed"
        page.wait(lambda: page.one(failed).value_of_css_property("color") == "rgba(185, 28, 28, 1)")
        assert "No face was found" in page.text(PORTRAITS)
        service.generate(PortraitRequest(("ada",), tuple(templates_in(tmp_path, 1)))).wait(60)
        page.open()
        page.tab(INFERENCE)
        page.wait_for(f"{PORTRAITS} .easyphoto-state.failed")
        page.pick_preset(0)
        page.wait(lambda: "No portraits yet" in page.text(PORTRAITS))


@pytest.mark.thorough
def test_faces_and_pose_follow_what_was_chosen(address: str, service: EasyPhoto) -> None:
    trained(service, "ada")

    def shows(count: int) -> bool:
        return sum(e.is_displayed() for e in page.all("[id^=easyphoto_generate_user_]")) == count

    with Page(address) as page:
        page.tab(INFERENCE)
        page.wait(lambda: page.one("#easyphoto_generate_user_1 input").get_attribute("value") == "ada")
        for count in (3, 2, 5, 1, 4):
            page.number("#easyphoto_generate_faces", count)
            page.wait(partial(shows, count), 15)
        page.tab(TEXT, "#easyphoto_generate_templates")
        ways = "#easyphoto_generate_t2i_control_way label"
        expected = ["Without Control", "Control with inner template", "Control with uploaded template"]
        page.wait(lambda: [way.text for way in page.all(ways)] == expected)
        assert not any(e.is_displayed() for e in page.all("#easyphoto_generate_pose, #easyphoto_generate_poses"))
        page.click(ways, 2)
        page.wait(lambda: page.one("#easyphoto_generate_pose").is_displayed())
        page.click(ways, 1)
        page.wait(lambda: page.one("#easyphoto_generate_poses").is_displayed())
        page.wait(lambda: not any(e.is_displayed() for e in page.all("#easyphoto_generate_pose")))
        shown = "#easyphoto_generate_poses .thumbnail-item img"
        page.wait_for(shown, len(POSES) - 1)
        page.wait(lambda: all(page.script("return arguments[0].naturalWidth", picture) for picture in page.all(shown)))
        page.click("#easyphoto_generate_poses .thumbnail-item", 9)
        chosen = "#easyphoto_generate_t2i_pose_inner input"
        page.wait(lambda: page.attribute(chosen, "value") == POSES[10] == "hand-at-chin")


@pytest.mark.thorough
def test_a_scene_is_trained_with_the_captions_that_were_uploaded(
    address: str, service: EasyPhoto, tmp_path: Path
) -> None:
    photos = photos_in(tmp_path / "photos", 3)
    for photo in photos[:2]:
        photo.with_suffix(".txt").write_text("a beach", encoding="utf-8")
    (tmp_path / "photos" / "other.txt").write_text("a wood", encoding="utf-8")
    with Page(address) as page:
        page.upload("easyphoto_train_upload", sorted((tmp_path / "photos").iterdir()))
        page.wait_for(f"{REPORT} figure.taken", 3)
        assert "2 captions" in page.text(REPORT) and "other.txt" in page.text(REPORT)
        page.open()
        page.wait_for(f"{REPORT} figure.taken", 3)
        assert "2 captions" in page.text(REPORT)
        page.type("#easyphoto_train_user_id", "coast")
        page.click("#easyphoto_train_train_mode_choose label", 1)
        page.click("#easyphoto_train_start")
        page.wait_for(f"{PROGRESS} [data-state=finished]")
        request = service.people.at("coast").job.request.read_text(encoding="utf-8")
        assert json.loads(request)["captions"] == ["a beach", "a beach", ""]


class Bare(Page):
    """A page that has nothing but what a test puts there."""

    def open(self) -> None:
        self.driver.get("about:blank")


@pytest.mark.thorough
def test_a_busy_page_is_looked_at_less_often() -> None:
    """A hundred beats of a clock that the test turns: on time, each four tenths of a second late, and late while the
    page is hidden, after which it looks at the first beat."""
    script = Path(__file__).parents[2] / "javascript" / "easyphoto.js"
    count = """const [script, late, hidden] = arguments, beats = [];
               document.body.innerHTML =
                   '<div id="easyphoto"><p data-poll="again"></p><button id="again"></button></div>';
               let looks = 0, clock = 0;
               document.querySelector('#again').addEventListener('click', () => { looks += 1; });
               window.setInterval = (beat, every) => beats.push([beat, every]);
               performance.now = () => clock;
               Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden && clock < 90000});
               eval(script);
               const [beat, every] = beats.reduce((one, other) => (other[1] < one[1] ? other : one));
               for (let n = 0; n < 100; n++) {
                   clock += every + late;
                   beat();
               }
               return [looks, clock];"""
    with Bare("about:blank") as page:
        source = script.read_text(encoding="utf-8")
        assert page.script(count, source, 0, False) == [10, 10_000], "once a second"
        assert page.script(count, source, 400, False) == [5, 50_000], "once in ten seconds"
        assert page.script(count, source, 809, True) == [1, 90_900], "at once when it is seen again"
