"""Tests of people: a name never becomes a path, and a person is added and removed as a whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto import pictures
from easyphoto.config import Family, Paths
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.people import PeopleStore, user_id
from easyphoto.storage import elsewhere
from tests.acting import lora_file
from tests.fakes import blank


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", "../x", "a/b", "a\\b", "C:x", "a\0b", "a\nb", ".hidden",
     "dot.", "none", "None", "CON", "aux.txt",
     "x" * 65, "漢" * 64, "<lora:x:1>", "a|b", "a*"],
)  # fmt: skip
def test_what_could_lead_astray_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        user_id(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ann", "小明", "José García", "Þór 2", "محمد", "a-b_c (2)", "O'Neil", "😀"])
def test_names_in_any_script_are_welcome(name: str) -> None:
    assert user_id(f" {name} ") == name


@pytest.mark.thorough
@given(st.text(max_size=80))
def test_an_accepted_name_is_one_part_of_a_path(text: str) -> None:
    try:
        name = user_id(text)
    except InvalidRequest:
        return
    base = Path("/data/people")
    assert (base / name).parent == base and (base / name).resolve().parent == base
    assert user_id(name) == name


def trained(paths: Paths, name: str, **marks: object) -> None:
    folder = paths.people / name
    (folder / "user_weights" / "best_outputs").mkdir(parents=True)
    (folder / "original_backup").mkdir()
    (folder / "original_backup" / "0.jpg").write_bytes(b"private")
    pictures.save_jpg(folder / "ref_image.jpg", blank(40, 40))
    pictures.save_jpg(folder / "user_weights" / "best_outputs" / "best.jpg", blank(30, 30))
    if marks:
        (folder / "person.json").write_text(json.dumps(marks))
    paths.loras.mkdir(parents=True, exist_ok=True)
    (paths.loras / f"{name}.safetensors").write_bytes(lora_file())


def test_a_person_is_listed_when_reference_and_lora_exist(paths: Paths) -> None:
    store = PeopleStore(paths)
    assert store.list() == []
    trained(paths, "小明", family="bench", likeness=0.7, embedder="dlib", works=False)
    trained(paths, "old")
    (paths.people / "half").mkdir()
    assert [p.user_id for p in store.list()] == ["old", "小明"]
    assert store.get("old").family is None and store.get("old").works
    person = store.get("小明")
    assert (person.family, person.likeness, person.works) == (Family.BENCH, 0.7, False)
    assert person.face_id is not None and person.face_id.name == "best.jpg"
    with pytest.raises(NotFound, match="half"):
        store.get("half")


def test_a_scene_of_the_original_is_known_by_its_lora(paths: Paths, tmp_path: Path) -> None:
    """It wrote no ``person.json``, and for a scene no reference picture."""
    scene = {"ep_lora_version": "scene", "ep_prompt": "palms at the sea"}
    for name, metadata in (("beach", scene), ("somebody", {}), ("else", {"ep_lora_version": "person"})):
        (paths.people / name).mkdir(parents=True)
        pictures.write_bytes(paths.loras / f"{name}.safetensors", lora_file(**metadata))
    store = PeopleStore(paths)
    assert [(p.user_id, p.scene, p.fault) for p in store.list()] == [("beach", True, "")]
    assert store.get("beach").marks == {"scene": True, "prompt": "palms at the sea"}
    store.export("beach", tmp_path / "beach.zip")
    store.delete("beach")
    assert store.bring(tmp_path / "beach.zip").scene


def test_deleting_leaves_nothing(paths: Paths) -> None:
    store = PeopleStore(paths)
    trained(paths, "ann")
    trained(paths, "bob")
    store.delete("ann")
    left = [p for p in paths.outputs.parent.rglob("*") if "ann" in p.name]
    assert left == [] and [p.user_id for p in store.list()] == ["bob"]
    with pytest.raises(NotFound):
        store.delete("ann")


def test_what_lies_in_the_folders_of_other_programs_goes_too(paths: Paths, tmp_path: Path) -> None:
    """Also after the person got another name, and whatever command deletes them."""
    store = PeopleStore(paths)
    for name in ("ann", "bob"):
        place = tmp_path / "elsewhere" / f"{name}.0123.safetensors"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"weights")
        trained(paths, name)
        for gone in (place.with_name("earlier.safetensors"), place):
            elsewhere.note(store.get(name).lora, gone, paths.loras)
    assert "earlier" not in (paths.loras / elsewhere.NOTE).read_text(encoding="utf-8"), "it isn't there any more"
    store.rename("ann", "Ann Lee")
    store.delete("Ann Lee")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["bob.0123.safetensors"]
    assert "ann" not in (paths.loras / elsewhere.NOTE).read_text(encoding="utf-8")


def test_export_and_import_carry_the_person_but_not_the_photos(paths: Paths, tmp_path: Path) -> None:
    store = PeopleStore(paths)
    trained(paths, "ann", family="sd1", likeness=0.5)
    file = tmp_path / "ann.zip"
    store.export("ann", file)
    assert not any("original_backup" in n for n in zipfile.ZipFile(file).namelist())
    with pytest.raises(InvalidRequest, match="already"):
        store.bring(file)
    store.delete("ann")
    assert store.bring(file) == store.get("ann")
    assert store.get("ann").likeness == 0.5


def test_an_import_never_writes_outside(paths: Paths, tmp_path: Path) -> None:
    store = PeopleStore(paths)
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("user_id.txt", "eve")
        archive.writestr("lora.safetensors", b"")
        archive.writestr("files/../../../../evil.txt", b"")
    with pytest.raises(InvalidRequest, match="outside"):
        store.bring(evil)
    other = tmp_path / "other.zip"
    other.write_bytes(b"no zip")
    with pytest.raises(InvalidRequest, match="not a person"):
        store.bring(other)
    assert not list(tmp_path.rglob("evil.txt"))
