"""Tests of templates, galleries and scenes over HTTP."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from easyphoto.templates import scenes
from tests.acting import portrait_of, trained
from tests.api.conftest import b64
from tests.fakes import blank, draw_face

V1 = "/easyphoto/v1"


def two_people(path: Path) -> Path:
    pictures.save_png(path, draw_face(draw_face(blank(600, 400), (150, 200), 120, 4), (450, 200), 120, 5))
    return path


def size_of(answer: httpx.Response) -> tuple[int, int]:
    assert answer.status_code == 200, answer.text
    return Pillow.open(io.BytesIO(answer.content)).size


def test_a_template_of_ones_own_comes_is_seen_and_goes(client: httpx.Client, tmp_path: Path) -> None:
    picture = b64(two_people(tmp_path / "two.png"))
    added = client.post(f"{V1}/templates", json={"name": "两个人", "picture": picture})
    assert added.status_code == 200, added.text
    assert added.json() | {"faces": None, "own": True, "gallery": ""} == added.json()
    assert client.post(f"{V1}/templates", json={"name": "两个人", "picture": picture}).status_code == 422
    assert [t["name"] for t in client.get(f"{V1}/templates", params={"search": "两个"}).json()] == ["两个人"]
    assert size_of(client.get(f"{V1}/templates/两个人/picture")) == (600, 400)
    assert max(size_of(client.get(f"{V1}/templates/两个人/picture", params={"small": True}))) == 384

    assert client.get(f"{V1}/templates", params={"faces": 2}).json() == []
    assert client.post(f"{V1}/templates/count").json() == {"left": 0}
    assert [t["name"] for t in client.get(f"{V1}/templates", params={"faces": 2}).json()] == ["两个人"]

    assert client.delete(f"{V1}/templates/两个人").json()["name"] == "两个人"
    assert client.get(f"{V1}/templates/两个人/picture").status_code == 404
    assert client.delete(f"{V1}/templates/grace-hopper").status_code == 422


@pytest.mark.thorough
def test_pictures_that_are_sent_are_a_gallery_whose_pictures_are_presets(
    client: httpx.Client, service: EasyPhoto, paths: Paths, tmp_path: Path
) -> None:
    trained(service, "ada")
    face = tmp_path / "a.jpg"
    pictures.save_jpg(face, portrait_of(3))
    sent = {"name": "holidays", "pictures": {"beach.jpg": b64(face), "friends": b64(two_people(tmp_path / "b.png"))}}
    assert client.post(f"{V1}/galleries", json=sent).json() == {"name": "holidays", "pictures": 2, "linked": False}
    assert client.get(f"{V1}/galleries").json() == [{"name": "holidays", "pictures": 2, "linked": False}]
    listed = client.get(f"{V1}/templates", params={"gallery": "holidays"}).json()
    assert [t["name"] for t in listed] == ["holidays/beach", "holidays/friends"]
    assert "holidays/beach" not in [t["name"] for t in client.get(f"{V1}/templates").json()]
    assert size_of(client.get(f"{V1}/templates/holidays/beach/picture")) == (320, 400)

    asked = {"user_ids": ["ada"], "presets": ["holidays/beach"]}
    job = client.post(f"{V1}/jobs/portrait", json=asked).json()["id"]
    client.get(f"{V1}/jobs/{job}/events")
    assert client.get(f"{V1}/jobs/{job}").json()["state"] == "finished"

    broken = {"name": "broken", "pictures": {"x": "bm8gcGljdHVyZQ=="}}
    assert client.post(f"{V1}/galleries", json=broken).status_code == 422
    assert client.post(f"{V1}/galleries", json={**sent, "name": "../out"}).status_code == 422
    assert client.delete(f"{V1}/galleries/holidays").json()["pictures"] == 2
    assert client.delete(f"{V1}/galleries/holidays").status_code == 404
    kept = [p.name for p in (paths.outputs / "easyphoto-templates").iterdir() if not p.name.startswith(".")]
    assert kept == []


def test_a_linked_folder_is_named_without_its_place(client: httpx.Client, service: EasyPhoto, tmp_path: Path) -> None:
    folder = tmp_path / "private place" / "holidays"
    two_people(folder / "two.png")
    service.templates.folders.link(folder)
    listed = client.get(f"{V1}/templates", params={"gallery": "holidays"})
    galleries = client.get(f"{V1}/galleries")
    assert listed.json()[0]["name"] == "holidays/two" and galleries.json()[0]["linked"]
    assert "private place" not in listed.text + galleries.text
    assert client.delete(f"{V1}/galleries/holidays").json()["linked"]
    assert (folder / "two.png").is_file()


@pytest.mark.thorough
def test_a_scene_is_the_prompt_of_a_picture_from_text(client: httpx.Client, service: EasyPhoto) -> None:
    trained(service, "ada")
    listed = client.get(f"{V1}/scenes").json()
    assert [s["name"] for s in listed] == [s.name for s in scenes.known()]
    asked = {"user_ids": ["ada"], "scene_preset": "beach", "options": {"text_to_image_input_prompt": "a man"}}
    job = client.post(f"{V1}/jobs/portrait", json=asked).json()["id"]
    request = service.jobs.get(job)
    assert request.what == "generate"
    wrong = client.post(f"{V1}/jobs/portrait", json={**asked, "scene_preset": "nowhere"})
    assert wrong.status_code == 404 and "no scene 'nowhere'" in wrong.json()["message"]
    client.get(f"{V1}/jobs/{job}/events")
    host = service.host
    prompts = [str(getattr(call, "prompt", "")) for call in getattr(host, "jobs", [])]
    assert not prompts or any(p.startswith(f"a man, {scenes.known()[6].prompt}") for p in prompts)
