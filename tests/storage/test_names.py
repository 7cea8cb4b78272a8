"""Tests that a name is one person: no spelling of it, on no file system, leads to another person."""

from __future__ import annotations

import io
import unicodedata

import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.errors import EasyPhotoError, InvalidRequest, NotFound
from easyphoto.people import PeopleStore
from easyphoto.templates import TemplateStore
from tests.storage import somebody
from tests.storage.somebody import NEW, OLD

COMPOSED = "José"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
TWINS = [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), ("ann", "ann "), ("ann ", "ann"), ("ann", "Ann"), ("a", "a.")]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_of_two_who_are_spelt_alike_each_is_found_and_deleted_alone(paths: Paths, one: str, other: str) -> None:
    store = PeopleStore(paths)
    somebody.trained(paths, one, OLD)
    somebody.trained(paths, other, NEW)
    assert {p.user_id for p in store.list()} == {one, other}
    assert (store.get(one).lora.read_bytes()[-1], store.get(other).lora.read_bytes()[-1]) == (OLD, NEW)
    store.delete(one)
    assert [p.user_id for p in store.list()] == [other]
    assert somebody.values(paths, other) == {NEW}


@pytest.mark.parametrize(("there", "asked"), TWINS)
def test_a_name_that_is_not_there_leads_to_nobody_else(paths: Paths, there: str, asked: str) -> None:
    store = PeopleStore(paths)
    somebody.trained(paths, there)
    for ask in (store.get, store.delete):
        with pytest.raises((NotFound, InvalidRequest)):
            ask(asked)
    assert somebody.values(paths, there) == {OLD}


@pytest.mark.parametrize(("there", "asked"), [(DECOMPOSED, COMPOSED), ("ann", "Ann"), ("ANN", "ann"), ("ß", "SS")])
def test_nobody_is_trained_under_a_name_that_some_system_takes_for_another(
    paths: Paths, there: str, asked: str
) -> None:
    store = PeopleStore(paths)
    somebody.trained(paths, there)
    with pytest.raises(InvalidRequest, match="too much like"):
        store.to_train(asked)
    assert store.to_train(there) == there


@pytest.mark.parametrize("asked", ["..", "../ann", "ann/..", "a\0", "", "\u200b", "a\u202eb", "a" * 300, "\ud800"])
def test_what_is_no_name_is_said_so(paths: Paths, asked: str) -> None:
    store = PeopleStore(paths)
    somebody.trained(paths)
    for ask in (store.get, store.delete, store.folder, store.to_train):
        with pytest.raises(InvalidRequest):
            ask(asked)


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["marks", "no object", "wrong type", "lora", "no lora", "reference", "cut reference"]
)
def test_one_damaged_person_touches_no_other(paths: Paths, damage: str) -> None:
    store = PeopleStore(paths)
    bob, ann = somebody.trained(paths, "bob"), somebody.trained(paths, "ann", NEW)
    marks = bob.folder / "person.json"
    match damage:
        case "marks":
            marks.write_bytes(b'{"family": "sd')
        case "no object":
            marks.write_bytes(b"[1]")
        case "wrong type":
            marks.write_bytes(b'{"likeness": "much"}')
        case "lora":
            bob.lora.write_bytes(b"<html>")
        case "no lora":
            bob.lora.unlink()
        case "reference":
            bob.reference.write_bytes(b"no picture")
        case "cut reference":
            bob.reference.write_bytes(bob.reference.read_bytes()[:-200])
    listed = {p.user_id: p for p in store.list()}
    assert listed["ann"] == ann and listed["ann"].fault == ""
    fault = listed["bob"].fault
    assert "bob" in fault and fault.endswith(".") and "\n" not in fault
    assert store.get("bob").fault == fault
    with pytest.raises(EasyPhotoError, match="bob"):
        store.get("bob").require_whole()
    store.delete("bob")
    assert [p.user_id for p in store.list()] == ["ann"]


def test_a_folder_that_may_not_be_read_is_one_persons_fault(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be allowed everything, so the system's answer is played."""
    from easyphoto.storage import files

    somebody.trained(paths, "bob")
    somebody.trained(paths, "ann")
    read = files.read_json

    def refused(path: object) -> object:
        if "bob" in str(path):
            raise PermissionError(13, "Permission denied")
        return read(path)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "read_json", refused)
    faults = {p.user_id: p.fault for p in PeopleStore(paths).list()}
    assert faults["ann"] == "" and faults["bob"] == "The files of bob can't be read: Permission denied."


def test_a_cancelled_training_is_marked_and_not_said_to_work(paths: Paths) -> None:
    person = somebody.trained(paths)
    (person.folder / "person.json").write_text('{"family": "sd1", "works": true, "cancelled": true, "likeness": null}')
    found = PeopleStore(paths).get("ann")
    assert found.cancelled and not found.works and found.fault == ""


# --- templates -------------------------------------------------------------------------------------------------------


def test_own_templates_of_one_stem_are_each_reached_and_deleted(paths: Paths) -> None:
    store = TemplateStore(paths)
    own = paths.outputs / "easyphoto-templates"
    pictures.save_png(own / "lake.png", somebody.grey(OLD))
    pictures.save_jpg(own / "lake.jpg", somebody.grey(NEW))
    pictures.save_jpg(own / "alone.jpg", somebody.grey(NEW))
    pictures.save_jpg(own / "astronaut.jpg", somebody.grey(NEW))
    names = [t.name for t in store.list() if t.own]
    assert sorted(names) == ["alone", "astronaut.jpg", "lake.jpg", "lake.png"]
    assert all(store.get(name).name == name for name in names)
    assert not store.get("astronaut").own
    with pytest.raises(InvalidRequest, match=r"lake\.jpg or lake\.png"):
        store.get("lake")
    with pytest.raises(InvalidRequest, match=r"lake\.jpg or lake\.png"):
        store.delete("lake")
    for name in ("lake", "Lake", "LAKE.PNG"):
        with pytest.raises(InvalidRequest, match="already"):
            store.add(name, somebody.grey(OLD))
    store.delete("lake.png")
    assert not (own / "lake.png").exists() and (own / "lake.jpg").exists()
    assert store.get("lake").path.name == "lake.jpg"


def test_own_templates_of_every_kind_that_is_read_are_listed(paths: Paths) -> None:
    own = paths.outputs / "easyphoto-templates"
    own.mkdir(parents=True)
    for suffix in ("BMP", "tiff", "gif", "jfif", "webp"):
        kind = {"jfif": "JPEG"}.get(suffix, suffix.upper())
        Pillow.new("RGB", (8, 8)).save(own / f"{suffix.lower()}.{suffix}", kind)
    (own / "notes.txt").write_text("none")
    (own / ".hidden.png").write_bytes(b"")
    found = [t for t in TemplateStore(paths).list() if t.own]
    assert sorted(t.name for t in found) == ["bmp", "gif", "jfif", "tiff", "webp"]
    assert all(pictures.load(t.path).shape == (8, 8, 3) for t in found)


def test_an_own_template_keeps_its_transparency(paths: Paths) -> None:
    glass = Pillow.new("RGBA", (8, 6), (200, 60, 40, 90))
    buffer = io.BytesIO()
    glass.save(buffer, "PNG")
    laid = pictures.read(buffer.getvalue())
    kept = pictures.read(TemplateStore(paths).add("glass", laid.image, laid.alpha).path)
    assert kept.alpha is not None
    assert (kept.alpha == 90).all()
    assert abs(kept.image.astype(int) - laid.image).max() <= 2
