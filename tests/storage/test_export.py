"""Tests that an export that fails leaves the earlier file as it was, and that a fault is one sentence."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from easyphoto.config import Paths
from easyphoto.errors import EasyPhotoError, InvalidRequest, StorageFailed
from easyphoto.people import PeopleStore
from tests.acting import lora_file
from tests.storage import somebody


def test_an_export_that_fails_leaves_the_earlier_one(paths: Paths, tmp_path: Path) -> None:
    """A process that may write no more than a few kilobytes to a file is on a full disk."""
    person = somebody.trained(paths)
    file = tmp_path / "ann.zip"
    PeopleStore(paths).export("ann", file)
    before = file.read_bytes()
    code = (
        "import signal, sys; from pathlib import Path; from easyphoto.config import Paths\n"
        "from easyphoto.errors import StorageFailed; from easyphoto.people import PeopleStore\n"
        "import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: PeopleStore(Paths.standalone(Path(sys.argv[1]))).export('ann', Path(sys.argv[2]))\n"
        "except StorageFailed as error: sys.exit(str(error))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(paths.outputs.parent), str(file)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.strip().startswith("ann.zip could not be written"), done.stderr
    assert file.read_bytes() == before and person.lora.is_file()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["ann.zip"]


@pytest.mark.parametrize("missing", ["lora", "reference"])
def test_a_person_who_lacks_files_is_one_sentence(paths: Paths, tmp_path: Path, missing: str) -> None:
    person = somebody.trained(paths)
    getattr(person, missing).unlink()
    with pytest.raises(InvalidRequest, match=r"^ann can't be used: .* is gone\.$"):
        PeopleStore(paths).export("ann", tmp_path / "ann.zip")
    assert not (tmp_path / "ann.zip").exists()


def test_places_that_cannot_be_written(paths: Paths, tmp_path: Path) -> None:
    somebody.trained(paths)
    for file, words in ((tmp_path / "no" / "ann.zip", "no folder no"), (tmp_path, "is a folder")):
        with pytest.raises(StorageFailed, match=words):
            PeopleStore(paths).export("ann", file)


def test_what_travels_is_the_same_person_again_and_again(paths: Paths, tmp_path: Path) -> None:
    store, file = PeopleStore(paths), tmp_path / "ann.zip"
    somebody.trained(paths)
    store.export("ann", file)
    first = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}, "no time of the day in it"
        assert not [n for n in archive.namelist() if "original_backup" in n or "/job" in n]
    with pytest.raises(InvalidRequest, match="already a person 'ann'"):
        store.bring(file)
    assert somebody.values(paths) == {somebody.OLD}
    store.delete("ann")
    store.bring(file)
    store.export("ann", file)
    assert file.read_bytes() == first


def test_somebody_without_a_training_travels_too(paths: Paths, tmp_path: Path) -> None:
    store, file = PeopleStore(paths), tmp_path / "ann.zip"
    person = somebody.trained(paths)
    person.lora.unlink()
    (person.folder / "person.json").write_text('{"trained": false, "embedder": "dlib"}')
    store.export("ann", file)
    first = file.read_bytes()
    with pytest.raises(InvalidRequest, match="already a person 'ann'"):
        store.bring(file)
    store.delete("ann")
    back = store.bring(file)
    assert (back.user_id, back.trained, back.fault) == ("ann", False, "") and back.photos()
    assert not list(paths.loras.glob("*")) and len(list(paths.people.iterdir())) == 1
    store.export("ann", file)
    assert file.read_bytes() == first
    store.delete("ann")
    with zipfile.ZipFile(file) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    scene = b'{"trained": false, "scene": true}'
    for changed, words in (
        ({**whole, "files/person.json": b"{}"}, "not a person that was exported"),
        ({**whole, "files/person.json": scene}, "not a person that was exported"),
        ({k: v for k, v in whole.items() if k != "files/person.json"}, "not a person that was exported"),
        ({k: v for k, v in whole.items() if k != "files/ref_image.jpg"}, "no reference picture"),
        ({**whole, "lora.safetensors": lora_file()}, "says that nobody was trained"),
    ):
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in changed.items():
                archive.writestr(name, data)
        with pytest.raises(InvalidRequest, match=words):
            store.bring(file)
        assert not list(paths.people.iterdir()) and not list(paths.loras.glob("*"))


def test_an_import_onto_a_full_disk_can_be_tried_again(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, file = PeopleStore(paths), tmp_path / "ann.zip"
    somebody.trained(paths)
    store.export("ann", file)
    store.delete("ann")
    before = somebody.snapshot(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("easyphoto.storage.files.move", full)
        with pytest.raises(EasyPhotoError, match="No space left"):
            store.bring(file)
    assert somebody.snapshot(tmp_path) == before and store.list() == []
    assert store.bring(file).user_id == "ann"
