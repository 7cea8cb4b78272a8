"""Tests that files are listed while others make and remove them."""

from __future__ import annotations

import threading
from pathlib import Path

from easyphoto.storage import listing


def test_files_of_a_pattern_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b/c/2.png", "a.png", "b/1.png", "b/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    found = listing.below(tmp_path, "*.png")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.png", "b/1.png", "b/c/2.png"]
    assert listing.size([*listing.below(tmp_path), tmp_path / "gone"]) == 8
    assert listing.below(tmp_path / "gone") == []
    assert listing.newest([*found, tmp_path / "gone"]) == max(path.stat().st_mtime for path in found)
    assert listing.newest([tmp_path / "gone"]) == 0


def test_folders_that_come_and_go_meanwhile_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "kept.png").write_bytes(b"1")
    done = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not done.is_set():
            number += 1
            folder = tmp_path / f".{number % 50}.part"
            folder.mkdir()
            folder.rmdir()

    worker = threading.Thread(target=come_and_go)
    worker.start()
    try:
        assert all(listing.below(tmp_path, "*.png") == [tmp_path / "kept.png"] for _ in range(1500))
    finally:
        done.set()
        worker.join()
