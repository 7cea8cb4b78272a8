"""A table in the Inference tab, without a browser: checked, refused with every fault, made and shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.batch_desk import BatchDesk
from tests.acting import templates_in, trained

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en"})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN"})


@pytest.fixture
def followed() -> list[Any]:
    return []


@pytest.fixture
def desk(service: EasyPhoto, followed: list[Any]) -> BatchDesk:
    import gradio as gr

    trained(service, "ada")
    desk = BatchDesk(service, compat.language)

    def started(job: Any, language: str) -> dict[Any, Any]:
        followed.append(job)
        return {}

    with gr.Blocks():
        desk.build()
        desk.bind(started, [])
    return desk


def files(tmp_path: Path, text: str) -> list[str]:
    table = tmp_path / "orders.csv"
    table.write_text(text, encoding="utf-8")
    return [str(table), *map(str, templates_in(tmp_path / "templates"))]


def test_a_table_is_checked_made_and_shown(
    desk: BatchDesk, service: EasyPhoto, tmp_path: Path, followed: list[Any]
) -> None:
    given = files(tmp_path, "user,template,fusion_only\nada,template-0.png,yes\nada,template-1.png,yes\n")
    said = desk._check(given, ENGLISH)
    assert "2 portraits: 0 are there, 2 are to be made." in said and not service.jobs.list()
    assert desk._start({desk.files: given}, ENGLISH) == {desk.note: ""}
    (job,) = followed
    job.wait(60)
    shown = panel.job_panel(job, service.jobs, "en", "tick")
    assert "2 made now, 0 there before, 0 failed. The report is batch-orders/report.html." in shown
    assert 'data-outcome="finished"' in shown and len(panel.View.of(job).portrayed) == 2
    assert "共 2 个人像：已有 2 个，还需制作 0 个。" in desk._check(given, CHINESE)


def test_every_fault_is_listed_in_the_language_of_the_page(desk: BatchDesk, service: EasyPhoto, tmp_path: Path) -> None:
    given = files(tmp_path, "user,template\n<b>x</b>,template-0.png\nada,../../../etc/passwd\nada,templates\n")
    said = desk._start({desk.files: given}, CHINESE)[desk.note]
    assert said.count("<li>第 ") == 3 and "<b>" not in said and "尚未开始：orders.csv 中有 3 行有误。" in said
    assert "Line 3: There is no template '../../../etc/passwd'." in desk._check(given, ENGLISH).replace("&#x27;", "'")
    assert not service.jobs.list()


@pytest.mark.parametrize("uploaded", [None, [], ["one.png"]])
def test_without_a_table_nothing_begins(desk: BatchDesk, uploaded: Any) -> None:
    assert "Upload one table: a file that ends in .csv" in desk._check(uploaded, ENGLISH)
