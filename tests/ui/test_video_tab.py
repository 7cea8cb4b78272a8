"""Tests of the Video tab as a person uses it, and of what it is made of."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from easyphoto import pictures
from easyphoto.clips import encoding
from easyphoto.clips.encoding import Writing
from easyphoto.config import Paths
from easyphoto.events import Progress
from easyphoto.jobs import Job
from easyphoto.pace import ENOUGH
from easyphoto.ports import Txt2Img
from easyphoto.service import EasyPhoto
from easyphoto.ui import chart, compat
from easyphoto.ui.texts import dictionary
from easyphoto.ui.video_tab import FORMATS, NOT_IN_CLIPS, PICTURES, PREFIX, TEXT, VideoTab
from tests.acting import trained
from tests.animating import AnimatingHost
from tests.fakes import FakeHost, FakeVision, blank, draw_face
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = pytest.mark.filterwarnings("ignore")

VIDEO = 4
"""The number of the tab."""
PROGRESS = f"#{PREFIX}_progress"
ENGLISH = SimpleNamespace(headers={"accept-language": "en"})


def two_walk(path: Path, count: int = 6) -> Path:
    """A clip in which one person stands on the left and another walks on the right."""
    frames = [
        draw_face(draw_face(blank(320, 200), (80, 90), 56, who=45), (210 + 5 * i, 110), 48, who=75)
        for i in range(count)
    ]
    encoding.write(path, frames, Writing(Fraction(10)))
    return path


def built(service: EasyPhoto) -> tuple[VideoTab, dict[Any, Any]]:
    """The tab without a page, and what its components hold at first."""
    tab = VideoTab(service, compat.language)
    with gr.Blocks() as blocks:
        tab.build()
    return tab, {part: getattr(part, "value", None) for part in blocks.blocks.values()}


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
@pytest.mark.parametrize("name", ["two walk.mp4", "two walk.gif"])
def test_from_a_clip_to_a_clip(address: str, service: EasyPhoto, tmp_path: Path, name: str) -> None:
    trained(service, "ada")
    ending = name[-3:]
    with Page(address) as page:
        page.tab(VIDEO)
        page.click(f"#{PREFIX}_start")
        page.wait_for(f"#{PREFIX}_error .easyphoto-error")
        assert "Upload a clip first" in page.text(f"#{PREFIX}_error")

        page.upload(f"{PREFIX}_clip", [two_walk(tmp_path / name)])
        page.wait_for(f"#{PREFIX}_people figure", 2)
        assert "320 x 200 pixels, 10 frames a second, about 6 frames" in page.text(f"#{PREFIX}_facts")
        assert "Person 1, 6 frames" in page.text(f"#{PREFIX}_people")
        plays(page, "preview", ending)
        page.wait(lambda: page.one(f"#{PREFIX}_user_2").is_displayed())
        pick(page, 2, "ada")
        if ending == "gif":
            choose(page, "format", "gif")
        page.settle()
        page.click(f"#{PREFIX}_start")
        page.wait_for(f"{PROGRESS} [data-state=finished]")
        assert "6 frames, 6 of them repainted" in page.text(PROGRESS)
        plays(page, "result", ending)
        page.wait_for(f"#{PREFIX}_likeness polyline.p0")
        assert "ada: likeness" in page.text(f"#{PREFIX}_likeness")

        page.open()
        page.tab(VIDEO)
        page.wait_for(f"{PROGRESS} [data-state=finished]")
        plays(page, "result", ending)
        page.wait_for(f"#{PREFIX}_likeness polyline.p0")
        assert page.complaints() == []


def plays(page: Page, which: str, ending: str) -> None:
    """Wait until the browser has read the clip that a player was given."""
    if ending == "mp4":
        ready = "const v = document.querySelector(arguments[0]); return v && v.videoWidth === 320 && v.duration > 0.4"
        page.wait(lambda: page.script(ready, f"#{PREFIX}_{which}_video video"))
    else:
        ready = "const i = document.querySelector(arguments[0]); return i && i.complete && i.naturalWidth === 320"
        page.wait(lambda: page.script(ready, f"#{PREFIX}_{which}_picture img"))


def pick(page: Page, number: int, name: str) -> None:
    choose(page, f"user_{number}", name)


def choose(page: Page, which: str, value: str) -> None:
    """Pick a value of a dropdown."""
    page.click(f"#{PREFIX}_{which} input")
    page.click_words(f"#{PREFIX}_{which} [role=option], [role=listbox] [role=option]", value)


class Stopping:
    """A host's ``before`` that waits for the test once the time left of a clip is known, so that a browser on a busy
    machine sees it."""

    def __init__(self, service: EasyPhoto) -> None:
        self._service, self.go_on = service, threading.Event()

    @property
    def clip(self) -> Job[Any]:
        return next(job for job in self._service.jobs.list() if job.what == "video")

    def __call__(self, _: Txt2Img) -> None:
        seen = [event for _, event in self.clip.events(follow=False) if isinstance(event, Progress)]
        if any((event.stage, event.step) == ("frames", ENOUGH) for event in seen):
            self.go_on.wait(120)


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
def test_a_clip_is_cancelled_and_what_is_no_clip_is_said(address: str, service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    assert isinstance(service.host, FakeHost)
    service.host.before = stopping = Stopping(service)
    (tmp_path / "broken.mp4").write_bytes(b"no clip at all")
    with Page(address) as page:
        page.tab(VIDEO)
        page.upload(f"{PREFIX}_clip", [tmp_path / "broken.mp4"])
        page.wait_for(f"#{PREFIX}_error .easyphoto-error")
        assert "broken.mp4 is not a video" in page.text(f"#{PREFIX}_error")
        page.open()
        page.tab(VIDEO)
        page.upload(f"{PREFIX}_clip", [two_walk(tmp_path / "walk.mp4", 30)])
        page.wait_for(f"#{PREFIX}_people figure", 2)
        pick(page, 1, "ada")
        page.settle()
        page.click(f"#{PREFIX}_start")
        page.wait(lambda: f"Frames: {ENOUGH} of 30" in page.text(PROGRESS))
        page.wait(lambda: "left" in page.text(PROGRESS))
        page.click(f"#{PREFIX}_cancel")
        page.wait(stopping.clip.cancelled)
        stopping.go_on.set()
        page.wait_for(f"{PROGRESS} [data-state=cancelled]")
        assert page.complaints() == []


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_browser")
def test_the_tab_speaks_chinese_and_fits_a_telephone(address: str, service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "小美")
    known = {english for english, chinese in dictionary().items() if english != chinese}
    with Page(address, language="zh-CN") as page:
        page.telephone()
        page.wait(lambda: "视频" in page.text("#easyphoto_tabs"))
        page.script("document.querySelectorAll('#easyphoto_tabs [role=tab]')[arguments[0]].click()", VIDEO)
        page.upload(f"{PREFIX}_clip", [two_walk(tmp_path / "walk.mp4")])
        page.wait_for(f"#{PREFIX}_people figure", 2)
        assert "第 2 人，6 帧" in page.text(f"#{PREFIX}_people")
        page.wait(lambda: page.text(f"#{PREFIX}_start") == "生成视频")
        page.unfold()
        page.settle()
        assert not [text for text in page.words() if text in known]
        assert page.script("return document.documentElement.scrollWidth") <= 400


def test_what_the_tab_asks_for(service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    tab, data = built(service)
    clip = two_walk(tmp_path / "walk.gif")
    data |= {tab.clip: str(clip), tab.count: 2.0, tab.users[0]: "none", tab.users[1]: "ada", tab.format: "webp"}
    data |= {tab.max_fps: 5.0, tab.max_frames: 2.0, tab.by_likeness: False}
    data[tab._form.components["first_diffusion_steps"]] = 3.0
    tab._start(data, ENGLISH)  # type: ignore[arg-type]
    job = next(job for job in service.jobs.list() if job.what == "video")
    clip.unlink()  # gradio's own copy may go at any time
    made = job.wait(60)
    assert (made.frames, made.path.suffix, [one.user_id for one in made.people]) == (2, ".webp", ["ada"])
    assert isinstance(service.host, FakeHost)
    assert {asked.steps for asked in service.host.jobs} == {3, 20}


@pytest.fixture
def drawing_service(paths: Paths) -> EasyPhoto:
    made = EasyPhoto(AnimatingHost(), FakeVision(), paths)
    trained(made, "ada")
    return made


@pytest.mark.thorough
def test_a_clip_is_drawn_from_text_held_to_another_or_from_pictures(drawing_service: EasyPhoto, tmp_path: Path) -> None:
    host = drawing_service.host
    assert isinstance(host, AnimatingHost)
    tab, data = built(drawing_service)
    control = two_walk(tmp_path / "control.gif", 3)
    first, last = (tmp_path / name for name in ("first.png", "last.png"))
    pictures.save_png(first, blank(60, 90))
    pictures.save_png(last, blank(60, 90, gray=200))
    data |= {tab.format: "gif", tab.users[0]: "ada", tab.max_frames: 4.0, tab.clip: str(control)}
    data |= {tab.prompts[TEXT]: "by the sea", tab.control: str(control), tab.image: str(first)}
    data |= {tab.last_image: str(last), tab.prompts[PICTURES]: "she turns"}
    data[tab._drawn.components["upload_control_video_type"]] = "canny"
    data[tab._drawn.components["i2v_denoising_strength"]] = 0.4
    for mode in (TEXT, PICTURES):
        tab._start({**data, tab.mode: mode}, ENGLISH)  # type: ignore[arg-type]
    jobs = [job for job in drawing_service.jobs.list() if job.what == "video"]
    made = [job.wait(60) for job in jobs]
    text, moved = host.clips
    assert "by the sea" in text.prompt and text.image is None and text.frames == len(text.frame_controls) == 3
    assert "she turns" in moved.prompt and not moved.frame_controls and moved.frames == 4
    assert moved.image is not None and moved.last_image is not None and moved.denoising_strength == 0.4
    assert [one.repainted for one in made] == [3, 4]
    told = tab._showing(jobs[0], "en")[tab.recipe]
    assert "prompt: by the sea" in told and "upload_control_video_type: canny" in told and str(tmp_path) not in told


@pytest.mark.parametrize(
    ("mode", "said"), [(TEXT, "write a prompt, or choose a picture"), (PICTURES, "Upload the first picture")]
)
def test_what_cannot_be_drawn_is_said(drawing_service: EasyPhoto, mode: str, said: str) -> None:
    tab, data = built(drawing_service)
    assert said in tab._start({**data, tab.mode: mode}, ENGLISH)[tab.error]  # type: ignore[arg-type]


def test_a_host_that_draws_no_clips_says_so_in_the_tab(service: EasyPhoto) -> None:
    tab, data = built(service)
    asked = {**data, tab.mode: TEXT, tab.prompts[TEXT]: "by the sea"}
    assert "This host draws no clips" in tab._start(asked, ENGLISH)[tab.error]  # type: ignore[arg-type]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_frames": None}, "must be a number"),
        ({"max_frames": 1.0}, "from 2 to"),
        ({"max_frames": 2.5}, "must be a whole number"),
        ({"clip": None}, "Upload a clip first."),
        ({}, "Nobody was chosen"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_sentence(
    service: EasyPhoto, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    tab, data = built(service)
    data[tab.clip] = str(two_walk(tmp_path / "walk.gif"))
    data |= {getattr(tab, name): value for name, value in changes.items()}
    assert said in tab._start(data, ENGLISH)[tab.error]  # type: ignore[arg-type]
    assert not [job for job in service.jobs.list() if job.what == "video"]


@pytest.mark.thorough
def test_a_clip_that_was_removed_leaves_an_empty_player(service: EasyPhoto, tmp_path: Path) -> None:
    trained(service, "ada")
    tab, data = built(service)
    data |= {tab.clip: str(two_walk(tmp_path / "walk.gif")), tab.users[0]: "ada", tab.format: "gif"}
    tab._start(data, ENGLISH)  # type: ignore[arg-type]
    job = next(job for job in service.jobs.list() if job.what == "video")
    made = job.wait(60)
    assert "<svg" in tab._showing(job, "en")[tab.likeness]
    made.about.write_text("{}")
    shown = tab._showing(job, "en")[tab.likeness]
    assert "<svg" not in shown and "ada: likeness" in shown
    made.path.unlink()
    shown = tab._showing(job, "en")
    assert shown[tab.likeness] == "" and all(not part["value"] for part in shown.values() if isinstance(part, dict))


def test_only_what_a_clip_makes_use_of_is_offered(service: EasyPhoto) -> None:
    tab, _ = built(service)
    assert "lora_weights" in tab._form.components and not NOT_IN_CLIPS & set(tab._form.components)
    assert FORMATS == ("mp4", "webm", "gif", "webp")


def test_a_gap_in_the_likeness_is_no_line() -> None:
    drawn = chart.over_time(
        {"ada": [[(0.0, 0.5), (0.1, 1.2)], [(0.9, 0.4)]], "<b>": [[(0.0, 0.1), (1.0, 0.2)]]}, 1.0, ("Likeness", "s")
    )
    assert drawn.count("<polyline") == 2 and drawn.count("<circle") == 1
    assert "&lt;b&gt;" in drawn and "<b>" not in drawn
    assert chart.over_time({"ada": [[]]}, 1.0, ("Likeness", "s")) == ""
