"""Tests of a zip from a stranger: it is refused with one sentence, and only a person who is complete is written."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from easyphoto.config import Paths
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.people import PeopleStore
from easyphoto.storage import archive
from tests.storage import hostile, somebody


@pytest.fixture
def store(paths: Paths) -> PeopleStore:
    somebody.trained(paths)
    return PeopleStore(paths)


def brought(store: PeopleStore, file: Path, data: bytes) -> str | None:
    """Try to import; the sentence, None when it was taken. Checks that nothing else happened."""
    outside = file.parent
    file.write_bytes(data)
    before = somebody.snapshot(outside)
    sentence = None
    try:
        person = store.bring(file)
    except EasyPhotoError as error:
        sentence = str(error)
        assert sentence == sentence.strip() and "\n" not in sentence and sentence.endswith(".") and len(sentence) < 400
        assert somebody.snapshot(outside) == before, "a refused file leaves no trace"
        return sentence
    after = somebody.snapshot(outside)
    mine = (f"{person.folder}/", str(person.lora))
    assert {k: v for k, v in after.items() if not k.startswith(mine)} == before
    assert person.fault == "" and not (person.folder / "job").exists()
    store.delete(person.user_id)
    assert somebody.snapshot(outside) == before
    return None


def attack(store: PeopleStore, file: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(count):
        made = hostile.ATTACKS[number % len(hostile.ATTACKS)]
        sentence = brought(store, file, made(draw))
        assert sentence is not None or made is hostile.scratched, f"{made.__name__} was taken"


def test_a_good_file_is_taken(store: PeopleStore, tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert brought(store, tmp_path / "eve.zip", hostile.zipped(hostile.good(), method)) is None


@pytest.mark.thorough
def test_a_hundred_hostile_zips(store: PeopleStore, tmp_path: Path) -> None:
    attack(store, tmp_path / "evil.zip", 102, seed=1)


@pytest.mark.slow
def test_a_thousand_hostile_zips(store: PeopleStore, tmp_path: Path) -> None:
    attack(store, tmp_path / "evil.zip", 1000, seed=2)


@pytest.mark.parametrize("name", hostile.EVIL_NAMES)
def test_no_member_leads_outside_or_is_run(store: PeopleStore, tmp_path: Path, name: str) -> None:
    sentence = brought(store, tmp_path / "evil.zip", hostile.zipped({**hostile.good(), name: b"evil"}))
    assert sentence is not None and sentence.startswith("evil.zip ")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [hostile.link, hostile.bomb, hostile.encrypted, hostile.doubled, hostile.crowded])
def test_members_that_are_no_plain_files(store: PeopleStore, tmp_path: Path, kind: hostile.Attack) -> None:
    for seed in range(6):
        assert brought(store, tmp_path / "evil.zip", kind(random.Random(seed))) is not None


def test_what_is_no_file_at_all(store: PeopleStore, tmp_path: Path) -> None:
    for path, words in ((tmp_path / "missing.zip", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InvalidRequest, match=words):
            store.bring(path)


def test_a_file_of_an_older_version_is_taken_and_what_it_needn_t_have_is_left_out(
    store: PeopleStore, tmp_path: Path
) -> None:
    older = {
        **hostile.good(),
        "files/photo_report.json": b"{}",
        "files/photo_report.jpg": b"...",
        "files/embedding.json": b"{}",
        "files/user_weights/best_outputs/eve.safetensors": b"...",
    }
    file = tmp_path / "older.zip"
    file.write_bytes(hostile.zipped(older))
    person = store.bring(file)
    assert not list(person.folder.rglob("photo_report*")) and not list(person.folder.rglob("*.safetensors"))


def test_a_link_in_place_of_a_person_is_removed_and_not_followed(paths: Paths, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    somebody.trained(Paths.standalone(outside), "bob")
    elsewhere = Paths.standalone(outside).people / "bob"
    before = somebody.snapshot(outside)
    paths.people.mkdir(parents=True)
    (paths.people / "bob").symlink_to(elsewhere, target_is_directory=True)
    PeopleStore(paths).delete("bob")
    assert somebody.snapshot(outside) == before and not (paths.people / "bob").is_symlink()


def test_a_link_inside_a_person_does_not_travel(paths: Paths, tmp_path: Path) -> None:
    person = somebody.trained(paths)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (person.folder / "processed_images" / "train" / "1.jpg").symlink_to(tmp_path / "secret.jpg")
    PeopleStore(paths).export("ann", tmp_path / "ann.zip")
    with zipfile.ZipFile(tmp_path / "ann.zip") as archive:
        assert all(b"secret" not in archive.read(name) for name in archive.namelist())


def test_marks_nested_without_end_are_damaged(store: PeopleStore, tmp_path: Path) -> None:
    sentence = brought(
        store, tmp_path / "evil.zip", hostile.zipped({**hostile.good(), "files/person.json": b"[" * 10**5})
    )
    assert sentence == "evil.zip holds nobody who can be used: person.json is damaged."


def test_a_mistake_of_the_program_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    file = tmp_path / "eve.zip"
    file.write_bytes(hostile.zipped(hostile.good()))
    with pytest.raises(KeyError, match="ours"), archive.reading(file) as shared:
        assert shared.user_id == "eve"
        raise KeyError("ours")
    file.write_bytes(file.read_bytes().replace(b'"works": true', b'"works": blue', 1))
    with archive.reading(file) as shared, pytest.raises(InvalidRequest, match="damaged, cut off"):
        shared.unpack(tmp_path / "eve")
