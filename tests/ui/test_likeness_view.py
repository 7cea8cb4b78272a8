"""Tests of what the page says of a likeness and of a set of photos."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from easyphoto.cli.show import panel_lines
from easyphoto.events import Finished
from easyphoto.jobs import JobQueue
from easyphoto.measures.likeness_panel import PanelRow, PanelWord
from easyphoto.messages import Message
from easyphoto.training.photo_coach import Coaching, CoachState, CoachSuggestion, CoachTopic, HeadBin
from easyphoto.ui import coach_view, likeness_view
from easyphoto.ui.panel import job_panel, likeness_said
from easyphoto.vision.backends import calibrations


def row(embedder: str, value: float | None) -> dict[str, Any]:
    return {"embedder": embedder, "value": value, "floor": 0.2, "ceiling": 0.7, "threshold": 0.45}


def panel(**more: Any) -> dict[str, Any]:
    return {
        "judge": row("dlib-resnet", 0.6),
        "reporter": row("faceres", 0.5),
        "copying": 0.125,
        "dominant_photo": "",
        "held_out": ["a.jpg"],
        "word": "looks like the person",
        "proven": True,
        "pictures": 4,
        "missing": 0,
        "not_applicable": 0,
    } | more


def places(html: str, kind: str) -> list[float]:
    return [float(left) for left in re.findall(rf'class="{kind}" style="left:([\d.]+)%', html)]


def test_each_embedder_has_a_bar_from_floor_to_ceiling() -> None:
    html = likeness_view.bars(panel(), "en")
    assert html.count('class="easyphoto-scale"') == 2
    assert places(html, "floor") == [0.0, 0.0] and places(html, "ceiling") == [100.0, 100.0]
    assert places(html, "value") == [80.0, 60.0] and places(html, "threshold") == [50.0, 50.0]
    for words in ("Judge: dlib-resnet", "Reporter: faceres", "Looks like the person.", "Copying: +0.12", "a.jpg"):
        assert words in html
    assert "percent" not in html and "proven" not in html


def test_without_a_reporter_the_page_says_that_nothing_is_proven() -> None:
    html = likeness_view.bars(panel(reporter=None, proven=False), "en")
    assert "Judged by one embedder: no gain is proven." in html
    assert html.count('class="easyphoto-scale"') == 1
    assert "复核模型" in likeness_view.bars(panel(reporter=None, proven=False), "zh")


def test_an_embedder_that_nobody_measured_is_said_to_prove_nothing() -> None:
    unmeasured = {**row("arcface", 0.6), "measured": False}
    html = likeness_view.bars(panel(judge=unmeasured, proven=False), "en")
    assert "What the numbers of arcface mean was never measured: no gain is proven." in html
    assert "no gain over" not in html
    assert any("arcface mean was never measured" in line for line in panel_lines(panel(judge=unmeasured), "floor"))


def test_the_floor_of_portraits_is_called_what_it_is() -> None:
    told = likeness_view.of_result({"panels": {"anna": panel(floor_of="without the LoRA")}}, "en")
    assert "without the LoRA 0.200" in told and "template" not in told
    assert "the template&#x27;s own face 0.200" in likeness_view.of_result({"panels": {"anna": panel()}}, "en")


def test_a_copy_is_called_by_its_photo_and_names_are_escaped() -> None:
    html = likeness_view.bars(panel(word="copies a photo", dominant_photo="<3>.jpg", held_out=[], missing=1), "en")
    assert "Copies &lt;3&gt;.jpg." in html and "<3>" not in html
    assert "No face in 1 of 4 pictures." in html
    assert "all photos but the nearest one" in html


def test_portraits_have_a_panel_for_each_person_with_the_template_as_the_floor() -> None:
    one = panel(pictures=1, dominant_photo="3.jpg", proven=False)
    result = {"portraits": ["a.png"], "panels": {"<ann>": one, "bert": panel(), "carl": panel(pictures=0), "dora": 3}}
    html = likeness_view.of_result(result, "en")
    assert html.count("&lt;ann&gt;") == 1 and "bert" in html and "carl" not in html and "<ann>" not in html
    assert html.count("the template&#x27;s own face 0.200") == 8 and "without the LoRA" not in html
    assert "The nearest training photo is 3.jpg." in html
    assert "The reporter sees no gain over the template&#x27;s own face." in html
    assert likeness_view.of_result({"panel": panel()}, "en") == likeness_view.bars(panel(), "en")
    assert likeness_view.of_result({"portraits": []}, "en") == ""


def test_what_was_not_measured_is_left_out() -> None:
    html = likeness_view.bars(panel(judge=row("dlib-resnet", None), reporter=None, word=None, copying=None), "en")
    assert "easyphoto-scale" not in html and "Copying" not in html


def test_the_coach_says_its_state_its_advice_and_where_the_heads_look() -> None:
    advice = CoachSuggestion(CoachTopic.POSES, Message("What would help: {photos}.", photos="<b>"))
    poses = dict.fromkeys(HeadBin, 0) | {HeadBin.FRONT: 5, HeadBin.LEFT: 1}
    html = coach_view.coaching(Coaching(CoachState.BETTER, (advice,), poses), "en")
    assert 'data-state="could be better"' in html
    assert "What would help: &lt;b&gt;." in html
    assert re.findall(r'class="(\w+)" style="grid-area:2/(\d)"[^>]*>(\d)<', html) == [
        ("seen", "1", "1"), ("seen", "2", "5"), ("unseen", "3", "0"),
    ]  # fmt: skip
    assert "照片已就绪" in coach_view.coaching(Coaching(CoachState.READY, (), poses), "zh")


def test_the_scale_and_the_panel_agree_on_where_strangers_end() -> None:
    calibration = calibrations.load("dlib-resnet")
    for cosine in np.linspace(-0.2, 1, 241):
        said = likeness_said(calibration.score(float(cosine)), "en")
        one = PanelRow("dlib-resnet", float(cosine), 0.0, 0.9, calibration.threshold)
        if abs(cosine - calibration.threshold) > 0.005:
            assert (one.word is PanelWord.PERSON) == (said in ("quite alike", "very alike")), cosine


@pytest.mark.parametrize(
    ("word", "advice"), [("looks like the person", False), ("looks like a relative", True), ("copies a photo", True)]
)
def test_after_a_training_only_the_panel_says_whom_it_looks_like(word: str, advice: bool) -> None:
    queue = JobQueue()
    job = queue.submit("train", "ada", lambda j: j.emit(Finished(result={"likeness": 0.95, "panel": panel(word=word)})))
    job.wait(60)
    told = job_panel(job, queue, "en", "")
    assert "ada is trained. Likeness 0.95." in told and "alike" not in told
    assert ("More or better photos help most." in told) == advice
