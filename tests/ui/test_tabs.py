"""Tests, without a browser, of what the tabs consist of."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from easyphoto.config import PortraitConfig, TrainConfig, declared
from easyphoto.errors import InvalidRequest
from easyphoto.events import Finished, Notice, Progress, TemplateFailed, Validated
from easyphoto.jobs import Job
from easyphoto.messages import languages
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.ui import app, chart, compat, panel, texts
from easyphoto.ui.app import build_tabs
from easyphoto.ui.form import Form
from easyphoto.ui.queue_desk import QueueDesk
from easyphoto.ui.settings import Settings
from tests.acting import photos_in, templates_in, trained
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def spoken(blocks: Any) -> set[str]:
    """All words that gradio will put on the page."""
    found: set[str] = set()
    for block in blocks.blocks.values():
        if "easyphoto-hidden" in (getattr(block, "elem_classes", None) or []):
            continue
        names = ["label", "info", "placeholder"] + (["value"] if "Button" in type(block).__name__ else [])
        found |= {v for n in names if isinstance(v := getattr(block, n, None), str) and v}
    return found


def test_every_word_of_the_page_has_its_chinese(service: EasyPhoto) -> None:
    unknown = spoken(build_tabs(service)) - set(texts.dictionary()) - {"mine", "HTML", "Markdown", "State"}
    assert not unknown


def test_the_weights_tab_offers_what_can_be_fetched_and_nothing_else(service: EasyPhoto) -> None:
    ids = {getattr(b, "elem_id", None): b for b in build_tabs(service).blocks.values()}
    catalog = service.weights.catalog
    shown = [what for what, _ in ids["easyphoto_weights_feature"].choices]
    assert shown == [bundle.what for bundle in catalog.offered.values()]
    assert len(shown) < len(catalog.bundles), "there is something to leave out"


def test_every_declared_parameter_has_a_component(service: EasyPhoto) -> None:
    blocks = build_tabs(service)
    ids = {getattr(b, "elem_id", None) for b in blocks.blocks.values()}
    for prefix, config in (("easyphoto_train", TrainConfig), ("easyphoto_generate", PortraitConfig)):
        offered = {d.name: not d.param.legacy for d in declared(config)}
        assert {name: f"{prefix}_{name}" in ids for name in offered} == offered


def test_a_form_gives_back_what_it_was_given() -> None:
    import gradio as gr

    with gr.Blocks():
        form = Form(PortraitConfig, "x", {}, {})
        form.add(*(d.name for d in declared(PortraitConfig)))
    defaults = {d.name: d.default for d in declared(PortraitConfig)}
    data = {form.components[n]: (float(v) if type(v) is int else v) for n, v in defaults.items()}
    values = form.values(data)
    assert values == defaults
    assert {n: type(v) for n, v in values.items()} == {d.name: d.type for d in declared(PortraitConfig)}
    with pytest.raises(InvalidRequest, match="Seed must be a whole number"):
        form.values({**data, form.components["seed"]: 1.5})
    with pytest.raises(InvalidRequest, match="Seed must be a number"):
        form.values({**data, form.components["seed"]: None})


def test_the_number_of_faces_comes_from_the_settings(service: EasyPhoto) -> None:
    blocks = build_tabs(service, Settings(faces=lambda: 3))
    users = [b for b in blocks.blocks.values() if str(getattr(b, "elem_id", "")).startswith("easyphoto_generate_user_")]
    assert [u.visible for u in users] == [True] * 3 + [False] * 7


def test_a_host_can_add_its_buttons_below_the_gallery(service: EasyPhoto) -> None:
    given: list[Any] = []
    build_tabs(service, Settings(send_to=lambda selected, recipe: given.extend((selected, recipe))))
    assert [g.elem_id for g in given] == ["easyphoto_generate_selected", "easyphoto_generate_recipe"]


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_that_waits_shows_its_place_and_one_that_runs_its_time(service: EasyPhoto) -> None:
    go_on = threading.Event()

    def work(job: Job[None]) -> None:
        job.emit(Progress(stage="train", step=30, total=120, loss=0.1, seconds_left=200))
        job.emit(Validated(step=30, likeness=0.4))
        job.emit(TemplateFailed(template=1, message="<no face>"))
        job.emit(Notice(message="a & b"))
        go_on.wait(60)
        job.emit(Finished(result={"works": True, "likeness": 0.61}))

    first, second = (service.jobs.submit("train", "ada", work) for _ in range(2))
    try:
        until(lambda: any(isinstance(e, Notice) for _, e in first.events(follow=False)))
        shown = panel.job_panel(first, service.jobs, "en", "tick")
        assert "Training: 30 of 120" in shown and "about 3 min left" in shown and 'data-poll="tick"' in shown
        assert "width:25.0%" in shown
        assert "Template 2: &lt;no face&gt;" in shown and "a &amp; b" in shown
        assert "Waiting: 1 before this one." in panel.job_panel(second, service.jobs, "en", "tick")
        assert "前面还有 1 个任务" in panel.job_panel(second, service.jobs, "zh", "tick")
    finally:
        go_on.set()
    second.wait(60)
    ended = panel.job_panel(second, service.jobs, "en", "tick")
    assert "data-poll" not in ended and "ada is trained. Likeness 0.61." in ended


def test_the_photo_report_shows_each_photo_with_its_verdict(service: EasyPhoto, tmp_path: Path) -> None:
    photos = photos_in(tmp_path, 5)
    broken = tmp_path / "broken <1>.jpg"
    broken.write_bytes(b"no picture")
    shown = panel.photos([*photos, broken], service.check_photos(photos), "en")
    assert shown.count("<figure") == 6 and shown.count("<img") == 5
    assert shown.count('class="taken"') == len(service.check_photos(photos).taken)
    assert "broken &lt;1&gt;.jpg" in shown and "<1>" not in shown
    assert "采用" in panel.photos(photos, service.check_photos(photos), "zh")


def test_every_verdict_and_saying_is_there_in_both_languages() -> None:
    from easyphoto.training.photos import PhotoOutcome

    for verdict in PhotoOutcome:
        assert texts.say(verdict.value, "en") != texts.say(verdict.value, "zh")
    known = languages.catalog("zh")
    assert not {text for text in (*texts.STATIC, *texts.SAYINGS.values()) if text not in known}


def test_the_curves_stay_inside_their_frame() -> None:
    loss = [(float(i), 0.3 / i) for i in range(1, 2000)]
    drawn = chart.curves(loss, [(100.0, -0.2), (1900.0, 1.1)], ("Loss", "Likeness", "Step"), 2000)
    assert drawn.count("<polyline") == 3 and drawn.count("<circle") == 2
    numbers = [float(v) for part in drawn.split('points="')[1:] for v in part.split('"')[0].replace(",", " ").split()]
    assert len(numbers) < 1200
    assert all(chart.LEFT - 1 <= x <= chart.WIDTH - chart.RIGHT + 1 for x in numbers[::2])
    assert all(chart.TOP - 1 <= y <= chart.HEIGHT - chart.BOTTOM + 1 for y in numbers[1::2])
    assert chart.curves([], [], ("", "", ""), 0) == ""


# --- what differs between versions -----------------------------------------------------------------------------------


def test_the_language_is_the_first_that_the_browser_names() -> None:
    class Request:
        def __init__(self, header: str) -> None:
            self.headers = {"accept-language": header}

    assert [compat.language(Request(h)) for h in ("zh-CN,zh;q=0.9,en;q=0.8", "zh-TW", "en-US,zh;q=0.5", "de", "")] == [
        "zh",
        "zh",
        "en",
        "en",
        "en",
    ]
    assert compat.language(None) == "en"


def test_a_language_is_one_file_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = json.loads((languages.FOLDER / "zh.json").read_text(encoding="utf-8"))
    (tmp_path / "tlh.json").write_text(json.dumps({text: f"tlh {text}" for text in words}), encoding="utf-8")
    monkeypatch.setattr(languages, "FOLDER", tmp_path)
    monkeypatch.setattr(languages, "LANGUAGES", (*languages.LANGUAGES, "tlh"))
    languages.catalog.cache_clear()
    try:
        request = type("Request", (), {"headers": {"accept-language": "tlh-KL,en;q=0.5"}})
        assert compat.language(request) == "tlh"
        told = app._words("tlh")
        assert 'data-language="tlh"' in told and "tlh Start training" in told
        assert texts.say("delete nobody", "tlh") == "tlh " + texts.say("delete nobody", "en")
    finally:
        languages.catalog.cache_clear()


def test_uploaded_files_of_old_and_new_versions(tmp_path: Path) -> None:
    class Opened:
        name = str(tmp_path / "a.jpg")

    assert compat.files([Opened(), str(tmp_path / "b.jpg")]) == [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert compat.files(None) == [] and compat.files(Opened()) == [tmp_path / "a.jpg"]


# --- the queue -------------------------------------------------------------------------------------------------------


def test_the_queue_is_shown_and_ordered_in_both_languages(service: EasyPhoto) -> None:
    trained(service, "ada")
    templates = tuple(templates_in(service.paths.outputs / "given", 1))
    desk = QueueDesk(service, lambda request: request)
    with gr.Blocks():
        desk.build()
        desk.bind()
    assert "队列为空" in desk.loaded("zh")[desk.list] and "Nothing is in the queue" in desk.loaded("en")[desk.list]
    service.jobs.pause()
    first, second = (service.generate(PortraitRequest(("ada",), templates)) for _ in range(2))
    data: dict[Any, Any] = {desk.job: second.id, desk.seen: ""}
    shown = desk._tick(data, "zh")  # type: ignore[arg-type]
    assert "队列已暂停" in shown[desk.list] and "data-poll" in shown[desk.list] and "ada 的" in shown[desk.list]
    assert shown[desk.job]["value"] == second.id and second.id in str(shown[desk.job]["choices"])
    seen = {**data, desk.seen: shown[desk.seen]}
    assert desk.job not in desk._tick(seen, "zh"), "what is chosen stays while nothing comes or goes"  # type: ignore[arg-type]
    moved = desk._about_one(lambda job: service.jobs.move(job, 0))(data, "en")  # type: ignore[arg-type]
    assert moved[desk.list].index(second.id) < moved[desk.list].index(first.id) and moved[desk.error] == ""
    refused = desk._about_one(service.jobs.retry)(data, "zh")  # type: ignore[arg-type]
    assert "不能重试" in refused[desk.error]
    nobody = desk._about_one(service.jobs.retry)({desk.job: None, desk.seen: ""}, "en")  # type: ignore[arg-type]
    assert "Choose a job first." in nobody[desk.error]
    for job in (first, second):
        job.cancel()
    cleared = desk._about_all(service.jobs.clear)(data, "en")  # type: ignore[arg-type]
    assert "<tr" not in cleared[desk.list] and "data-poll" not in cleared[desk.list]
