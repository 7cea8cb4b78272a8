"""Tests of the way from a portrait to its folder: only for a browser on this machine, and only for our folders."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from easyphoto.errors import AssetMissing, InvalidRequest, NotFound
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, file_manager
from easyphoto.ui.history_tab import HistoryTab
from tests.storage.test_deletion import portrait
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def request(client: str = "127.0.0.1", host: str = "127.0.0.1:7861", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(client=SimpleNamespace(host=client), headers={"host": host, **named})


@pytest.mark.parametrize(
    ("asked", "here"),
    [
        (request(), True),
        (request(host="localhost:7861"), True),
        (request(client="::1", host="[::1]:7861"), True),
        (request(client="192.168.1.20"), False),
        (request(host="192.168.1.5:7861"), False),
        (request(host="abc.gradio.live"), False),
        (request(host=""), False),
        (request(x_forwarded_for="192.168.1.20"), False),
        (request(x_forwarded_host="abc.example"), False),
        (SimpleNamespace(headers={"host": "localhost"}), False),
        (SimpleNamespace(), False),
    ],
)
def test_a_browser_is_here_only_if_all_signs_say_so(asked: Any, here: bool) -> None:
    assert file_manager.is_here(asked) is here


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose ``xdg-open`` writes down what it was asked to open."""
    note, program = tmp_path / "opened.txt", tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{note}"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("DISPLAY", ":0")
    return note


def test_only_our_folders_are_opened(opened: Path, tmp_path: Path) -> None:
    ours, others = tmp_path / "portraits" / "of ada 数据", tmp_path / "secrets"
    ours.mkdir(parents=True)
    others.mkdir()
    (tmp_path / "portraits" / "way out").symlink_to(others)
    for place in (others, tmp_path / "portraits" / ".." / "secrets", tmp_path / "portraits" / "way out"):
        with pytest.raises(InvalidRequest, match="no folder of EasyPhoto"):
            file_manager.open_folder(place, tmp_path / "portraits", request())
    with pytest.raises(NotFound):
        file_manager.open_folder(tmp_path / "portraits" / "gone", tmp_path / "portraits", request())
    with pytest.raises(InvalidRequest, match="another machine"):
        file_manager.open_folder(ours, tmp_path / "portraits", request(client="10.0.0.2"))
    assert not opened.exists()
    file_manager.open_folder(ours, tmp_path / "portraits", request())
    until(lambda: opened.exists() and opened.read_text())
    assert opened.read_text() == str(ours.resolve())


def test_without_a_desktop_there_is_only_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AssetMissing, match="no file manager"):
        file_manager.open_folder(tmp_path, tmp_path, request())
    assert not file_manager.can_open(request())


def test_the_button_is_there_for_a_browser_that_is_here(opened: Path, service: EasyPhoto) -> None:
    made = portrait(service.paths, "1.png", "ann")
    tab = HistoryTab(service, compat.language)
    with gr.Blocks():
        tab.build()
    name = tab.history.name(made)
    event: Any = SimpleNamespace(index=0)
    near, _ = tab._selected(event, [name], request())
    far, _ = tab._selected(event, [name], request(client="10.0.0.2", host="10.0.0.1:7861"))
    assert 'data-ask="easyphoto_history_open"' in near and "easyphoto_history_open" not in far
    assert "data-copy" in near and "data-copy" in far
    assert "another machine" in tab._opened(name, request(client="10.0.0.2"))
    assert "there any more" in tab._opened("../../x.png", request())
    assert not opened.exists()
    assert tab._opened(name, request()) == ""
