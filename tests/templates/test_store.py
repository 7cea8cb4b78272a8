"""Tests of what the user adds to the templates: folders as galleries, searching, counted faces, small copies."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import pytest

from easyphoto import pictures
from easyphoto.cli.main import main
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.service import face_counting
from easyphoto.templates import TemplateStore, scenes
from easyphoto.templates.thumbnails import Thumbnails
from tests.acting import portrait_of
from tests.fakes import FakeVision, blank, draw_face


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.standalone(tmp_path / "data")


@pytest.fixture
def store(paths: Paths) -> TemplateStore:
    return TemplateStore(paths)


@pytest.fixture
def holidays(tmp_path: Path) -> Path:
    """A folder somewhere on the disk: a picture with one face, one with two, one with none, a text, and a folder."""
    folder = tmp_path / "elsewhere" / "holidays"
    pictures.save_jpg(folder / "beach.jpg", portrait_of(3))
    two = draw_face(draw_face(blank(600, 400), (150, 200), 120, 4), (450, 200), 120, 5)
    pictures.save_png(folder / "two friends.png", two)
    pictures.save_png(folder / "sunset.png", blank(300, 200))
    (folder / "notes.txt").write_text("no picture")
    (folder / "deeper").mkdir()
    pictures.save_png(folder / "deeper" / "not here.png", blank(30, 20))
    return folder


def test_a_folder_is_a_gallery_where_it_lies(store: TemplateStore, holidays: Path, paths: Paths) -> None:
    before = sorted(holidays.iterdir())
    made = store.folders.link(holidays)
    assert (made.name, made.linked) == ("holidays", True)
    names = [t.name for t in store.search(gallery="holidays")]
    assert names == ["holidays/beach", "holidays/sunset", "holidays/two friends"]
    assert store.get("holidays/beach").path == holidays / "beach.jpg"
    assert not any(t.gallery for t in store.list()), "presets are what they were"
    assert [t.gallery for t in store.everything()][-3:] == ["holidays"] * 3
    assert [f.name for f in TemplateStore(paths).folders.list()] == ["holidays"], "the next program knows it too"
    pictures.save_png(holidays / "a new one.png", blank(30, 20))
    assert len(store.search(gallery="holidays")) == 4, "what comes to the folder is seen at once"
    with pytest.raises(InvalidRequest, match="belongs to a gallery"):
        store.delete("holidays/beach")
    store.remove_gallery("holidays")
    assert store.folders.list() == () and set(before) <= set(holidays.iterdir()), "its pictures stay"
    with pytest.raises(NotFound, match="no gallery"):
        store.get("holidays/beach")


def test_what_is_no_gallery_is_refused_in_one_sentence(store: TemplateStore, holidays: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="no pictures in the folder"):
        store.folders.link(tmp_path / "empty")
    with pytest.raises(NotFound, match="no folder"):
        store.folders.link(holidays / "beach.jpg")
    store.folders.link(holidays)
    with pytest.raises(InvalidRequest, match="already a gallery"):
        store.folders.link(holidays, "Holidays")
    with pytest.raises(InvalidRequest, match="may not contain"):
        store.folders.keep("../out", [holidays / "beach.jpg"])
    with pytest.raises(InvalidRequest, match="no pictures among"):
        store.folders.keep("texts", [holidays / "notes.txt"])
    (holidays / "beach.jpg").rename(tmp_path / "beach.jpg")
    assert len(store.search(gallery="holidays")) == 2
    holidays.rename(tmp_path / "moved")
    assert store.search(gallery="holidays") == [], "a drive that isn't there takes nothing else away"
    assert store.folders.list()[0].linked


def test_copies_of_pictures_are_kept_whole_or_not_at_all(
    store: TemplateStore, holidays: Path, paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "up").mkdir()
    again = tmp_path / "up" / "beach.jpg"
    again.write_bytes((holidays / "beach.jpg").read_bytes())
    made = store.folders.keep("Ferien 假期", [holidays / "beach.jpg", again, holidays / "notes.txt"])
    assert {t.name for t in made.templates()} == {"Ferien 假期/beach", "Ferien 假期/beach 2"}
    place = paths.outputs / "easyphoto-templates"
    with pytest.raises(InvalidRequest, match="broken"):
        store.folders.keep_all("sent", {"fine": (holidays / "beach.jpg").read_bytes(), "broken": b"no picture"})
    assert sorted(p.name for p in place.iterdir()) == ["Ferien 假期"], "nothing of it is left"
    store.folders.keep_all("sent", {"../fine.jpg": (holidays / "beach.jpg").read_bytes()})
    assert [p.name for p in (place / "sent").iterdir()] == ["fine.png"]
    assert not store.remove_gallery("sent").linked
    assert not (place / "sent").exists()


def test_words_are_looked_for_where_a_word_begins(store: TemplateStore) -> None:
    for name in ("woman in a hat", "man with a hat", "礼帽男士"):
        store.add(name, blank(30, 20))

    def found(text: str) -> list[str]:
        return [t.name for t in store.search(text) if t.own]

    assert found("man") == ["man with a hat"]
    assert found("HAT wom") == ["woman in a hat"]
    assert found("男士") == ["礼帽男士"]
    assert found("(") == found("nobody") == []


def test_faces_are_counted_once_and_the_count_goes_with_the_picture(store: TemplateStore, holidays: Path) -> None:
    store.folders.link(holidays)
    (holidays / "broken.png").write_bytes(b"no picture")
    assert store.search(faces=1, gallery="holidays") == [], "nobody has counted yet"
    vision = FakeVision()
    assert face_counting.count(store.search(gallery="holidays"), vision, store.counts, seconds=0) == 3
    assert face_counting.count(store.search(gallery="holidays"), vision, store.counts) == 0
    faces = {t.name.partition("/")[2]: t.faces for t in store.search(gallery="holidays")}
    assert faces == {"beach": 1, "two friends": 2, "sunset": 0, "broken": 0}
    assert [t.name for t in store.search(faces=2, gallery="holidays")] == ["holidays/two friends"]
    pictures.save_png(holidays / "two friends.png", portrait_of(6, 500, 500))
    assert store.get("holidays/two friends").faces is None, "another picture"


def test_what_is_let_go_of_leaves_no_trace(store: TemplateStore, holidays: Path, paths: Paths) -> None:
    store.add("mine", portrait_of(3, 300, 300))
    store.add("stays", portrait_of(4, 300, 300))
    store.folders.link(holidays)
    face_counting.count(store.everything(), FakeVision(), store.counts)
    for template in store.everything():
        store.thumbnails.of(template.path)
    store.delete("mine")
    store.remove_gallery("holidays")
    assert {t.name for t in store.everything() if t.own} == {"stays"} and store.get("stays").faces == 1
    kept = "".join(p.read_text() for p in (paths.outputs / "easyphoto-templates").glob("*.json"))
    kept += (paths.outputs / "easyphoto-templates" / ".faces.json").read_text()
    assert "stays.png" in kept and "mine.png" not in kept and str(holidays) not in kept
    assert len(list(store.thumbnails.folder.iterdir())) == len(store.everything())


def test_small_copies_last_and_go_with_their_picture(store: TemplateStore, paths: Paths) -> None:
    mine = store.add("mine", portrait_of(3, 900, 1200)).path
    small = store.thumbnails.of(mine)
    assert max(pictures.load(small).shape) == Thumbnails.SIDE
    assert TemplateStore(paths).thumbnails.of(mine) == small, "the next program finds it"
    made = small.stat().st_mtime_ns
    store.thumbnails.of(mine)
    assert small.stat().st_mtime_ns == made
    chosen = store.thumbnails.of(mine, chosen=True)
    differ = cv2.absdiff(pictures.load(small), pictures.load(chosen)).max(axis=2) > 60
    middle = differ[140:-80, 40:-40]
    assert chosen != small and differ.mean() > 0.03 and not middle.any(), "a frame and a tick, and the face is seen"
    pictures.save_png(mine, portrait_of(4, 300, 300))
    os.utime(mine, ns=(1, 1))
    assert store.thumbnails.of(mine) not in (small, chosen), "another picture has another copy"
    store.delete("mine")
    left = set(store.thumbnails.folder.iterdir())
    assert left == {small, chosen}, "those of the picture before; the copies of the one that was deleted are gone"


def test_old_small_copies_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyphoto.templates.thumbnails.KEPT", 2)
    for age in range(4):
        file = tmp_path / f"{age}.jpg"
        file.write_bytes(b"x")
        os.utime(file, (1000 - age, 1000 - age))
    Thumbnails(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.jpg", "1.jpg"]


def test_the_command_lists_links_adds_and_deletes(
    holidays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*argv: str, status: int = 0) -> str:
        assert main(["templates", *argv, "--data", str(tmp_path / "data")]) == status
        said = capsys.readouterr()
        return said.out if status == 0 else said.err

    assert "grace-hopper" in run("list")
    assert run("link", str(holidays), "--name", "summer") == "summer is a gallery of 3 pictures.\n"
    assert str(holidays) in run("galleries")
    rows = json.loads(run("list", "--gallery", "summer", "--json"))
    assert [row["name"] for row in rows] == ["summer/beach", "summer/sunset", "summer/two friends"]
    assert {row["faces"] for row in rows} == {None}
    assert json.loads(run("list", "beach", "--json"))[0]["file"] == str(holidays / "beach.jpg")
    assert run("add", str(holidays / "beach.jpg")) == "beach was added.\n"
    assert "already a template" in run("add", str(holidays / "beach.jpg"), status=2)
    assert "beach is deleted" in run("delete", "beach")
    assert "came with the program" in run("delete", "grace-hopper", status=2)
    assert "its pictures stay" in run("unlink", "summer")
    assert "no gallery 'summer'" in run("unlink", "summer", status=2)
    assert len(json.loads(run("scenes", "--json"))) == len(scenes.known())


def test_a_scene_goes_behind_what_the_user_wrote() -> None:
    first = scenes.known()[0]
    assert scenes.prompt(first.name) == first.prompt
    assert scenes.prompt(first.name, " a man with a beard ") == f"a man with a beard, {first.prompt}"
    with pytest.raises(NotFound, match="no scene 'nowhere'"):
        scenes.prompt("nowhere")
    names = {scene.name for scene in scenes.known()} | {scene.title_zh for scene in scenes.known()}
    assert len(scenes.known()) >= 10 and len(names) == 2 * len(scenes.known())
