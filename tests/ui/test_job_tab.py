"""Tests of the updates that a page gets about the job that it follows, without a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easyphoto import pictures
from easyphoto.events import Preview, Validated, wants_previews
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.train_tab import TrainTab
from tests.acting import portrait_of

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
ASKED: Any = SimpleNamespace(headers={"accept-language": "en"})
OTHERS = "somebody else's component"


@pytest.fixture
def tab(service: EasyPhoto) -> TrainTab:
    import gradio as gr

    tab = TrainTab(service, compat.language)
    with gr.Blocks():
        tab.build(gr.State(""))
        tab.bind([], lambda user_id, first_user, language: {OTHERS: user_id}, tab.user_id)
    return tab


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def job(service: EasyPhoto, go_on: threading.Event, tmp_path: Path) -> Job[None]:
    """A training that has validated once and goes on when it is told to."""
    validated = threading.Event()
    pictures.save_jpg(tmp_path / "validation.jpg", portrait_of(20, 128, 128))

    def work(job: Job[None]) -> None:
        job.emit(Validated(step=1, likeness=0.5, pictures=(str(tmp_path / "validation.jpg"),)))
        validated.set()
        go_on.wait(60)

    job = service.jobs.submit("train", "ada", work)
    assert validated.wait(60)
    return job


def looked_at(tab: TrainTab, job: Job[None], seen: str) -> dict[Any, Any]:
    return tab._tick({tab.job: job.id, tab.seen: seen, tab.user_id: ""}, ASKED)


def test_pictures_are_made_when_there_are_new_ones_and_not_at_every_look(
    tab: TrainTab, job: Job[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    thumbnail = panel.thumbnail
    monkeypatch.setattr(panel, "thumbnail", lambda path: made.append(path) or thumbnail(path))
    first = looked_at(tab, job, "")
    assert "<img" in first[tab.validation] and len(made) == 1
    for _ in range(3):
        assert set(looked_at(tab, job, first[tab.seen])) == {tab.progress}
    assert len(made) == 1


def test_nothing_is_missed_of_a_job_that_ends_while_it_is_looked_at(
    tab: TrainTab, job: Job[None], go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, before = panel.job_panel, looked_at(tab, job, "")

    def ended(*given: Any) -> str:
        go_on.set()
        job.wait(60)
        return draw(*given)

    monkeypatch.setattr(panel, "job_panel", ended)
    last = looked_at(tab, job, before[tab.seen])
    assert "data-poll" not in last[tab.progress], "the page looks no more"
    assert last[OTHERS] == "ada" and "finished" in last[tab.seen]


def test_nothing_is_missed_of_a_job_that_ends_right_after_a_page_began_to_follow_it(
    tab: TrainTab, job: Job[None], go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = panel.job_panel

    def ends(*given: Any) -> str:
        drawn = draw(*given)
        go_on.set()
        job.wait(60)
        return drawn

    monkeypatch.setattr(panel, "job_panel", ends)
    shown = tab._shown(job, "en")
    assert "data-poll" in shown[tab.progress], "the page looks again"
    assert looked_at(tab, job, shown[tab.seen])[OTHERS] == "ada"


def test_the_panel_shows_what_is_being_drawn_until_it_is_done(service: EasyPhoto, go_on: threading.Event) -> None:
    drawn = threading.Event()

    def work(job: Job[None]) -> None:
        job.listener(Preview(stage="first", jpeg="c28gZmFy"))
        drawn.set()
        go_on.wait(60)

    job = service.jobs.submit("generate", "ada", work)
    assert drawn.wait(60)
    assert 'src="data:image/jpeg;base64,c28gZmFy"' in panel.job_panel(job, service.jobs, "en", "tick")
    assert wants_previews(job.listener), "a page looks at it"
    go_on.set()
    job.wait(60)
    assert "data:image" not in panel.job_panel(job, service.jobs, "en", "tick")
