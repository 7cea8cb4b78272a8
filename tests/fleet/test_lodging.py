"""A worker's folder goes with the worker, however that ends, and nobody else's goes with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from easyphoto import program
from easyphoto.errors import StorageFailed
from easyphoto.fleet import lodging
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers live on Linux and macOS")

WORKER = """
import sys, time
from pathlib import Path
from easyphoto.fleet.lodging import Lodging
place = Lodging(Path(sys.argv[1]), Path(sys.argv[2]))
photo = place.paths.people / "eve" / "job" / "photos" / "0.jpg"
photo.parent.mkdir(parents=True)
photo.write_bytes(b"a face")
print("here", flush=True)
time.sleep(600)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(lodging.FOLDER, str(tmp_path / "node"))
    return lodging.root()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "Lora").mkdir(parents=True)
    (folder / "Lora" / "style.safetensors").write_bytes(b"style")
    return folder


def worker(root: Path, models: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*program.import_path(), *sys.path])}
    child = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root), str(models)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert child.stdout is not None and child.stdout.readline() == "here\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def photos(root: Path) -> list[Path]:
    return list(root.rglob("0.jpg"))


def test_a_worker_that_is_killed_leaves_no_photo(root: Path, models: Path) -> None:
    child = worker(root, models)
    assert photos(root)
    end(child)
    until(lambda: not list(root.glob(f"{lodging.PREFIX}*")))
    assert (models / "Lora" / "style.safetensors").is_file()


def test_what_a_machine_without_power_left_is_removed_by_the_next_and_who_lives_is_let_be(
    root: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = root / f"{lodging.PREFIX}0123456789abcdef" / "outputs" / "0.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"a face")
    living = worker(root, models)  # it sweeps as it begins
    try:
        assert not left.exists() and len(photos(root)) == 1
        left.parent.mkdir(parents=True)
        left.write_bytes(b"a face")
        assert lodging.sweep(root) == 1
        assert not left.exists() and len(photos(root)) == 1
    finally:
        end(living)
    until(lambda: not photos(root))


def test_after_a_request_only_the_nodes_own_loras_are_there(root: Path, models: Path) -> None:
    place = lodging.Lodging(root, models)
    try:
        for file in (place.paths.people / "eve" / "x.jpg", place.paths.loras / "eve.safetensors", place.pictures / "0"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"eve")
        place.empty()
        found = [path.name for path in place.paths.outputs.parent.rglob("*") if path.is_file()]
        assert found == ["style.safetensors"]
    finally:
        place.close()
    assert not photos(root)


def test_a_folder_of_another_user_is_not_worked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "theirs").symlink_to(mine)
    monkeypatch.setenv(lodging.FOLDER, str(tmp_path / "theirs"))
    with pytest.raises(StorageFailed, match="another user"):
        lodging.root()


def test_a_trainer_that_is_still_leaving_is_waited_for(root: Path, models: Path) -> None:
    place = lodging.Lodging(root, models)
    folder = place.paths.outputs.parent
    job = place.paths.people / "eve" / "job"
    job.mkdir(parents=True)
    lock = FileLock(job / "worker.lock", thread_local=False)
    lock.acquire()
    place._scratch._lock.release(force=True)  # as if the worker were gone
    sweeper = threading.Thread(target=lodging.sweep, args=(root,))
    sweeper.start()
    time.sleep(0.5)
    assert folder.exists()
    lock.release()
    sweeper.join(20)
    assert not folder.exists()
    place.close()
