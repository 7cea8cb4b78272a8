"""Tests that a deletion removes everything of a person's, says what that was, and leaves what belongs to somebody
else."""

from __future__ import annotations

import contextlib
import errno
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.storage import files
from easyphoto.storage.folders import STAGED
from easyphoto.storage.portraits import CHUNK
from easyphoto.storage.scratch import Scratch
from easyphoto.storage.uploads import Uploads
from tests.fakes import FakeHost, FakeVision
from tests.storage import somebody
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


def portrait(paths: Paths, name: str, *people: str) -> Path:
    path = paths.portraits / name
    pictures.save_png(path, somebody.grey(99), {CHUNK: json.dumps({"user_ids": people, "format": 1})})
    return path


@pytest.fixture
def service(paths: Paths) -> EasyPhoto:
    for name in ("ann", "ann b"):
        somebody.trained(paths, name)
    somebody.interrupted_job(paths)
    return EasyPhoto(FakeHost(), FakeVision(), paths)


def test_the_chunk_is_that_of_the_recipes() -> None:
    from easyphoto.inference import recipe

    assert recipe.CHUNK == CHUNK


def test_everything_of_a_person_goes_and_is_told(service: EasyPhoto, tmp_path: Path) -> None:
    paths = service.paths
    mine = [portrait(paths, "1.png", "ann"), portrait(paths, "day/2.png", "none", "ann")]
    others = [portrait(paths, "3.png", "ann b"), portrait(paths, "4.png")]
    (paths.portraits / "5.png").write_bytes(b"no picture")
    upload = tmp_path / "holiday.jpg"
    upload.write_bytes(b"photo")
    kept, other = service.uploads.keep("ann", upload), service.uploads.keep("ann b", upload)
    assert service.portraits_of("ann") == sorted(mine)
    removed = service.delete_person("ann", portraits=True)
    assert removed.portraits == tuple(sorted(mine)) and removed.uploads == 1
    assert removed.files > 10 and removed.bytes > 1000 and removed.sentence().startswith("ann was deleted: ")
    assert not any(p.exists() for p in (*mine, kept)) and all(p.exists() for p in (*others, other))
    left = [p for p in paths.outputs.parent.rglob("*") if p.name.split(".")[0] == "ann"]
    assert left == [] and somebody.values(paths, "ann b") == {somebody.OLD}
    with pytest.raises(NotFound):
        service.delete_person("ann")


def test_portraits_stay_unless_they_are_asked_for_and_are_told(service: EasyPhoto) -> None:
    mine = portrait(service.paths, "1.png", "ann")
    removed = service.delete_person("ann")
    assert mine.exists() and removed.portraits_left == (mine,) and "1 portraits were kept" in removed.sentence()


@pytest.mark.thorough
@pytest.mark.parametrize(("flags", "left"), [(["--portraits"], 0), (["--keep-portraits"], 1), ([], 1)])
def test_the_command_deletes_and_tells(service: EasyPhoto, flags: list[str], left: int) -> None:
    mine = portrait(service.paths, "1.png", "ann")
    data = ["--data", str(service.paths.outputs.parent)]
    command = [sys.executable, "-m", "easyphoto", "people", "delete", "ann", *data, *flags]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ann was deleted" in done.stdout and mine.exists() is bool(left)
    assert not (service.paths.people / "ann").exists()


def test_what_a_portrait_keeps_of_the_photos_meanwhile_is_not_left_behind(service: EasyPhoto) -> None:
    """A portrait that is made elsewhere writes what it sees of the photos into the person's folder, at any moment."""
    home, ends, written = service.people.folder("ann"), threading.Event(), 0

    def portray() -> None:
        nonlocal written
        while not ends.is_set():
            with contextlib.suppress(StorageFailed):
                files.write_bytes(home / "embedding.json", b"a face", folders=False)
                written += 1

    for number in range(300):
        (home / f"{number}.txt").touch()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(portray)
        until(lambda: written)
        service.delete_person("ann")
        time.sleep(0.05)
        ends.set()
        done.result(30)
    assert [path.name for path in service.paths.people.iterdir() if path.is_dir()] == ["ann b"]


def test_what_was_being_deleted_when_the_power_went_goes_with_the_next_look(service: EasyPhoto) -> None:
    service.people.folder("ann").rename(service.paths.people / ".delete-0123")
    assert [person.user_id for person in service.people.list()] == ["ann b"]
    assert not list(service.paths.people.glob(".delete-0123/*"))


def test_a_person_who_can_t_be_deleted_is_left_whole(service: EasyPhoto, monkeypatch: pytest.MonkeyPatch) -> None:
    before = somebody.snapshot(service.paths.people, service.paths.loras)

    def no(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", no)
        with pytest.raises(StorageFailed, match="Not everything of 'ann' could be deleted: Permission denied"):
            service.delete_person("ann")
    assert somebody.snapshot(service.paths.people, service.paths.loras) == before


def test_nobody_is_deleted_whose_photos_another_process_reads_for_a_training(service: EasyPhoto) -> None:
    job = service.people.at("ann").job.path
    with Scratch(job, STAGED), pytest.raises(InvalidRequest, match="is being trained"):
        service.delete_person("ann")
    assert service.delete_person("ann").files > 10


def test_the_lora_of_a_stranger_is_neither_overwritten_nor_deleted(service: EasyPhoto, tmp_path: Path) -> None:
    """A training that was stopped early left a folder; a LoRA of that name was put there from elsewhere."""
    paths = service.paths
    pictures.save_jpg(tmp_path / "photo.jpg", somebody.grey(90))
    for name, file in (("cat", "cat.safetensors"), ("dog", "Dog.safetensors")):
        pictures.save_jpg(paths.people / name / "job" / "photos" / "0.jpg", somebody.grey(90))
        pictures.write_bytes(paths.loras / file, b"somebody's")
        with pytest.raises(InvalidRequest, match=f"There is a LoRA {file} already that no training made here"):
            service.train(TrainRequest(name, (tmp_path / "photo.jpg",)))
        service.delete_person(name)
        assert (paths.loras / file).read_bytes() == b"somebody's" and not (paths.people / name).exists()
        with pytest.raises(InvalidRequest, match="no training made here"):
            service.train(TrainRequest(name, (tmp_path / "photo.jpg",)))
    assert not (paths.people / "cat").exists()
    service.people.to_train("ann")


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_uploads_keep_their_names_and_are_never_one_another(paths: Paths, tmp_path: Path) -> None:
    uploads = Uploads(paths)
    assert not paths.uploads.exists(), "nothing is written before there is something"
    found = []
    for folder in ("a", "b"):
        source = tmp_path / folder / "landscape rocket.jpg"
        source.parent.mkdir()
        source.write_bytes(folder.encode())
        found.append(uploads.keep("ann", source))
    assert [p.name for p in found] == ["landscape rocket.jpg", "landscape rocket (2).jpg"]
    assert [p.read_bytes() for p in found] == [b"a", b"b"]
    for name in ("é" * 100 + ".jpg", "CON.jpg", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
        path = uploads.keep(None, tmp_path / name)
        assert path.is_file() and path.is_relative_to(paths.uploads) and len(path.name.encode()) < 200
    assert uploads.empty("ann") == sorted(found) and len(uploads.of(None)) == 3
    uploads.empty_all()
    assert not [p for p in paths.uploads.rglob("*") if p.is_file()]


def test_uploads_of_a_program_that_was_killed_go_at_the_next_start_and_those_of_a_living_one_stay(
    paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"private")
    code = (
        "import sys; from pathlib import Path; from easyphoto.config import Paths\n"
        "from easyphoto.storage.uploads import Uploads\n"
        "uploads = Uploads(Paths.standalone(Path(sys.argv[1])))\n"
        "print(uploads.keep('ann', Path(sys.argv[2])).name, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(paths.outputs.parent), str(tmp_path / "photo.jpg")]
    here = Uploads(paths)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == b"photo.jpg"
        here.empty_all()
        assert len(here.of("ann")) == 1, "the other still runs"
        other.kill()
        other.wait()
    here.empty_all()
    assert here.of("ann") == [] and not [p for p in paths.uploads.rglob("*") if p.is_file()]
