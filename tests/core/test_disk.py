"""The nearest folder that exists is found, or that there is none; a vanished drive ends the walk."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto import disk
from easyphoto.config import Paths
from easyphoto.doctor import examine
from easyphoto.vision import registry
from tests.fakes import FakeHost


def test_the_nearest_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.nearest(tmp_path / "a" / "b") == tmp_path
    assert disk.free_bytes(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    assert disk.nearest(tmp_path / "file" / "b") == tmp_path / "file"
    monkeypatch.chdir(tmp_path)
    assert disk.nearest(Path("nothing")) == tmp_path


def test_a_vanished_drive_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_exists", lambda path: False)
    assert disk.nearest(tmp_path) is None
    assert disk.free_bytes(tmp_path) is None
    paths = Paths.standalone(tmp_path / "data")
    found = {f.what: f for f in examine(FakeHost(), registry.create(paths.models), paths) if f.area == "machine"}
    assert (found["disk"].status, found["data folder"].status) == ("missing", "missing")
    assert str(paths.outputs) in found["disk"].advice
