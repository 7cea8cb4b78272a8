"""Whole jobs in a real ComfyUI: a person is trained and painted through it, and its nodes are used in its own page.

They are run as ``test_real_comfyui.py`` is. ``WEBUI_PICTURES`` names a folder for the screenshots.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from easyphoto import pictures
from easyphoto.ports import Image
from tests.hosts.comfyui_page import ComfyUIPage
from tests.hosts.real_comfyui import base, marks, url
from tests.hosts.short_jobs import FEW, SHORT
from tests.training.conftest import portraits
from tests.ui import browser

pytestmark = marks()
__all__ = ["base", "url"]

USER, CLICKED, NODES_USER = "comfy 测试", "clicked", "ann"
PORT = 7861
"""Where the example among ComfyUI's templates looks for EasyPhoto."""
BRIEF = {**SHORT, "validation": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("people") / "data 数据"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Image) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    made = [folder / f"{number}.png" for number in range(5)]
    for file, photo in zip(made, portraits(astronaut, len(made)), strict=True):
        pictures.save_png(file, photo)
    return made


def flags(values: dict[str, object]) -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        found += [f"--no-{flag}"] if value is False else [f"--{flag}", str(value)]
    return found


def easyphoto(data: Path, *words: str | Path) -> list[dict[str, Any]]:
    """What a command prints, one value a line."""
    command = [sys.executable, "-m", "easyphoto", *map(str, words), "--data", str(data), "--json"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_person_is_trained_and_painted_through_comfyui(
    url: str, base: Path, data: Path, photos: list[Path], grace_hopper: Image
) -> None:
    template = photos[0].with_name("template.png")
    pictures.save_png(template, grace_hopper)
    model = ("--comfyui", url, "--sd-model-checkpoint", "narrow-sd15.safetensors")
    easyphoto(data, "train", USER, *photos, *model, *flags(BRIEF))
    made = easyphoto(data, "generate", "--user", USER, template, *model, *flags(FEW))
    portrait = data / "outputs" / "easyphoto-outputs" / made[-1]["result"]["portraits"][0]
    assert pictures.load(portrait).shape == grace_hopper.shape
    assert list((base / "models" / "loras" / "easyphoto").iterdir()), "ComfyUI has the person's LoRA"
    easyphoto(data, "people", "delete", USER, "--portraits")
    assert not list((base / "models" / "loras" / "easyphoto").iterdir())
    assert not portrait.exists()


@pytest.fixture(scope="module")
def served(data: Path, photos: list[Path]) -> Iterator[str]:
    """An EasyPhoto for the nodes, on its own engine; it knows one person, from photos alone."""
    easyphoto(data, "people", "add", NODES_USER, *photos)
    command = [sys.executable, "-m", "easyphoto", "serve", "--data", str(data), "--port", str(PORT)]
    with (data / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            where, deadline = f"http://127.0.0.1:{PORT}/easyphoto/v1", time.monotonic() + 180
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen(f"{where}/status", timeout=10):
                        break
                except OSError:
                    time.sleep(1)
            else:
                pytest.fail((data / "serve.log").read_text())
            yield where
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def page(url: str, base: Path, photos: list[Path], grace_hopper: Image) -> Iterator[ComfyUIPage]:
    if reason := browser.missing():
        pytest.skip(reason)
    (base / "input").mkdir(exist_ok=True)
    pictures.save_png(base / "input" / "example.png", grace_hopper)
    for photo in photos:
        (base / "input" / photo.name).write_bytes(photo.read_bytes())
    with ComfyUIPage(url, size=(1500, 1000)) as page:
        yield page


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    return Path(os.environ.get("WEBUI_PICTURES", tmp_path))


def test_the_example_among_its_templates(page: ComfyUIPage, served: str, base: Path, shots: Path) -> None:
    page.template("portrait")
    page.run()
    page.shot(shots / "comfyui-portrait.png")
    (made,) = (base / "output").glob("EasyPhoto_*.png")
    assert pictures.load(made).std() > 20


def test_training_by_nodes(
    page: ComfyUIPage, served: str, base: Path, photos: Sequence[Path], tmp_path: Path, shots: Path
) -> None:
    graph = training_graph(photos)
    file = tmp_path / "train.json"
    file.write_text(json.dumps(graph), encoding="utf-8")
    page.workflow(file, len(graph))
    page.run()
    page.shot(shots / "comfyui-train.png")
    with urllib.request.urlopen(f"{served}/people", timeout=30) as answer:
        trained = {person["user_id"]: person for person in json.load(answer)}
    assert trained[CLICKED]["trained"] is True
    assert len(list((base / "output").glob("Trained_*.png"))) == 1


def training_graph(photos: Sequence[Path]) -> dict[str, Any]:
    """Photos, a batch of them, Train, Portrait and a picture, as ComfyUI saves a workflow for its API."""

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    graph = {f"{n}": node("LoadImage", image=photo.name) for n, photo in enumerate(photos, start=1)}
    batch = "1"
    for number in range(2, len(photos) + 1):
        graph[f"1{number}"] = node("ImageBatch", image1=[batch, 0], image2=[f"{number}", 0])
        batch = f"1{number}"
    options = json.dumps({**BRIEF, "resolution": 64})
    where = f"http://127.0.0.1:{PORT}"
    graph["20"] = node("EasyPhotoTrain", photos=[batch, 0], user_id=CLICKED, server=where, again=False, options=options)
    graph["21"] = node("LoadImage", image="example.png")
    graph["22"] = node("EasyPhotoPortrait", person=["20", 0], templates=["21", 0], seed=7, options=json.dumps(FEW))
    graph["23"] = node("SaveImage", images=["22", 0], filename_prefix="Trained")
    graph["24"] = node("EasyPhotoLikeness", likeness=["22", 1])
    return graph
