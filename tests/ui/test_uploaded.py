"""Tests of pictures that came through a page: where they lie, and when they are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from easyphoto.storage.uploads import Uploads
from easyphoto.ui.temporary import VARIABLE, own_folder
from easyphoto.ui.uploaded import Uploaded
from tests.acting import photos_in, trained

PAGE, OTHER = "a" * 32, "b" * 32


def files_below(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_what_is_taken_over_keeps_its_name_and_leaves_gradios_folder(paths: Paths, tmp_path: Path) -> None:
    uploaded, place = Uploaded(Uploads(paths), "photos"), tmp_path / "gradio"
    (place / "its hash").mkdir(parents=True)
    file = photos_in(tmp_path, 1)[0].rename(place / "its hash" / "landscape rocket.jpg")
    own = photos_in(tmp_path / "own", 1, who=60)[0]
    uploaded.add(PAGE, [file, own], [place])
    assert sorted(p.name for p in uploaded.of(PAGE)) == ["landscape rocket.jpg", "photo-0.jpg"]
    assert place.exists() and list(place.iterdir()) == []
    assert own.exists(), "only what gradio wrote is removed"
    assert all(p.is_relative_to(paths.uploads) for p in uploaded.of(PAGE))
    assert uploaded.of(OTHER) == [] and Uploaded(Uploads(paths), "templates").of(PAGE) == []


def test_the_same_picture_is_taken_once(paths: Paths, tmp_path: Path) -> None:
    uploaded, photos = Uploaded(Uploads(paths), "photos"), photos_in(tmp_path, 2)
    uploaded.add(PAGE, [photos[0], photos[0]])
    uploaded.add(PAGE, photos)
    assert len(uploaded.of(PAGE)) == 2


def test_uploads_go_with_the_person_that_they_were_for(service: EasyPhoto, tmp_path: Path) -> None:
    uploaded = Uploaded(service.uploads, "photos")
    uploaded.add(PAGE, photos_in(tmp_path / "one", 3))
    uploaded.add(OTHER, photos_in(tmp_path / "two", 2, who=60))
    trained(service, "ada")
    uploaded.belong_to(PAGE, "ada")
    assert service.delete_person("ada").uploads == 3
    assert uploaded.of(PAGE) == [] and len(uploaded.of(OTHER)) == 2


def test_what_is_uploaded_after_a_clear_is_nobodys_again(service: EasyPhoto, tmp_path: Path) -> None:
    uploaded = Uploaded(service.uploads, "photos")
    uploaded.add(PAGE, photos_in(tmp_path / "one", 1))
    uploaded.belong_to(PAGE, "ada")
    uploaded.clear(PAGE)
    assert uploaded.of(PAGE) == []
    uploaded.add(PAGE, photos_in(tmp_path / "two", 2))
    service.uploads.empty("ada")
    assert len(uploaded.of(PAGE)) == 2


def test_gradios_folder_is_ours_while_the_program_runs(service: EasyPhoto, tmp_path: Path) -> None:
    before = os.environ.get(VARIABLE)
    with own_folder(service):
        place = Path(os.environ[VARIABLE])
        assert place.is_relative_to(service.paths.uploads)
        (place / "left.jpg").write_bytes(b"x")
        Uploaded(service.uploads, "photos").add(PAGE, photos_in(tmp_path, 1))
        assert len(files_below(service.paths.uploads)) == 2
    assert files_below(service.paths.uploads) == [] and os.environ.get(VARIABLE) == before


PROGRAM = """
import signal, sys, time
from pathlib import Path
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from easyphoto.ui.temporary import own_folder
from easyphoto.ui.uploaded import Uploaded
from tests.fakes import FakeHost, FakeVision
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it, and so its children
service = EasyPhoto(FakeHost(), FakeVision(), Paths.standalone(Path(sys.argv[1])))
with own_folder(service):
    Uploaded(service.uploads, "photos").add("a" * 32, [Path(sys.argv[2])])
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_however_the_program_ends(how: signal.Signals, paths: Paths, tmp_path: Path) -> None:
    photo = photos_in(tmp_path, 1)[0]
    data = paths.outputs.parent
    project = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", PROGRAM, str(data), str(photo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=project) as child:
        assert child.stdout is not None and child.stdout.readline() == b"there\n"
        assert len(files_below(paths.uploads)) == 1
        child.send_signal(how)
        child.wait(60)
    if how == signal.SIGKILL:  # then the next start does it
        assert len(files_below(paths.uploads)) == 1
        Uploads(paths).empty_all()
    assert files_below(paths.uploads) == []
