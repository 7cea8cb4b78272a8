"""Tests of replacing a file that somebody reads: Windows refuses that for as long as the file is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.errors import StorageFailed
from easyphoto.storage import files


@pytest.fixture
def open_for(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a replacement is still refused, as on Windows while a reader has the file open."""
    left, real = [0], Path.replace
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "PATIENCE", (0.0, 0.0))

    def replace(source: Path, target: Path) -> Path:
        if left[0]:
            left[0] -= 1
            raise PermissionError(13, "Access is denied")
        return real(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    return left


def test_a_reader_that_is_soon_done_is_waited_for(open_for: list[int], tmp_path: Path) -> None:
    file = tmp_path / "person.json"
    file.write_text("old")
    open_for[0] = 2
    files.write_bytes(file, b"new")
    assert file.read_text() == "new"


def test_a_reader_that_stays_is_an_error_and_the_old_file_stays(open_for: list[int], tmp_path: Path) -> None:
    file = tmp_path / "person.json"
    file.write_text("old")
    open_for[0] = 3
    with pytest.raises(StorageFailed, match=r"person\.json could not be written"):
        files.write_bytes(file, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["person.json"]
    assert file.read_text() == "old"


def test_elsewhere_a_refusal_is_final(open_for: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "WINDOWS", False)
    open_for[0] = 1
    with pytest.raises(StorageFailed):
        files.write_bytes(tmp_path / "person.json", b"new")
    assert open_for == [0], "asked once"
