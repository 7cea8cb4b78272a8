"""Tests of the standalone app where nothing is fake: the checkpoint that ships, the real trainer and chain, and a real
browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.cli import demo, standalone
from easyphoto.cli.serve import app
from easyphoto.config import Paths
from easyphoto.ports import Image
from tests.serving import served
from tests.ui.browser import Page

# gradio warns of itself in the server's thread
pytestmark = [
    pytest.mark.usefixtures("needs_browser"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(1500),  # under a minute on two idle cores
]

TRAINING, PORTRAITS = "#easyphoto_train_progress", "#easyphoto_generate_progress"
LONG = 600.0
QUICK_TRAINING = {
    "resolution": 128,
    "max_train_steps": 6,
    "val_and_checkpointing_steps": 3,
    "train_batch_size": 2,
    "rank": 4,
    "network_alpha": 4,
}
QUICK_PORTRAIT = {"first_diffusion_steps": 4, "second_diffusion_steps": 3, "seed": 7}


@pytest.fixture
def place(paths: Paths, tmp_path: Path) -> Paths:
    """Folders of the app, with one preset to validate on."""
    presets = json.loads((paths.templates / "manifest.json").read_text(encoding="utf-8"))
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(presets[:1]), encoding="utf-8")
    return replace(paths, templates=folder)


@pytest.fixture
def bench(place: Paths) -> Iterator[str]:
    if not place.bench.is_dir():
        pytest.skip("models/bench is not here")
    with served(app(standalone.build(place))) as address:
        yield address


@pytest.mark.thorough
def test_six_photos_a_short_training_and_a_portrait(
    bench: str, place: Paths, tmp_path: Path, astronaut: Image, grace_hopper: Image
) -> None:
    photos = [tmp_path / f"photo-{i}.jpg" for i in range(6)]
    for path, image in zip(photos, demo.photos(astronaut), strict=True):
        pictures.save_jpg(path, image)
    template = tmp_path / "template.png"
    pictures.save_png(template, grace_hopper[20:340, 96:416])
    with Page(bench) as page:
        page.upload("easyphoto_train_upload", photos)
        page.wait_for("#easyphoto_train_report figure.taken", 5, LONG)
        page.type("#easyphoto_train_user_id", "eileen")
        page.unfold()
        for name, value in QUICK_TRAINING.items():
            page.number(f"#easyphoto_train_{name}", value)
        page.click("#easyphoto_train_start")
        page.wait_for(f"{TRAINING} polyline.loss", seconds=LONG)
        seen = page.attribute(f"{TRAINING} polyline.loss", "points")
        page.wait(lambda: page.attribute(f"{TRAINING} polyline.loss", "points") != seen, LONG)
        page.wait_for(f"{TRAINING} [data-state=finished]", seconds=LONG)
        assert len(page.all(f"{TRAINING} circle.likeness")) == 3  # before the first step, and twice while training
        assert "eileen" in page.text(TRAINING) and len(page.all("#easyphoto_train_validation img")) >= 2
        assert (place.loras / "eileen.safetensors").is_file()

        page.tab(1)
        page.tab(1, "#easyphoto_generate_templates")
        page.upload("easyphoto_generate_single", [template])
        page.wait_for("#easyphoto_generate_single img")
        page.unfold()
        for name, value in QUICK_PORTRAIT.items():
            page.number(f"#easyphoto_generate_{name}", value)
        page.click("#easyphoto_generate_start")
        page.wait_for(f"{PORTRAITS} [data-state=finished]", seconds=LONG)
        assert "Portraits made: 1. Seed 7" in page.text(PORTRAITS)
        page.wait_for("#easyphoto_generate_portraits img")
        page.wait(lambda: "likeness 0." in page.text("#easyphoto_generate_portraits"))
        assert page.complaints() == []

    (portrait,) = place.portraits.glob("*-eileen-7.png")
    assert pictures.load(portrait).shape == (320, 320, 3)
    with Page(bench, language="zh-CN") as page:
        page.wait(lambda: page.text("#easyphoto_train_start") == "开始训练")
        page.wait_for(f"{TRAINING} circle.likeness", 3)
        assert "eileen" in page.text(TRAINING) and "相似度" in page.text(TRAINING)
        page.tab(1)
        page.wait(lambda: "生成了 1 张写真" in page.text(PORTRAITS))
        page.wait(lambda: "相似度" in page.text("#easyphoto_generate_portraits"))
        assert page.complaints() == []


@pytest.mark.slow
def test_a_newcomer_with_a_telephone_gets_a_portrait(
    bench: str, place: Paths, tmp_path: Path, astronaut: Image
) -> None:
    """In Chinese and 400 pixels wide, from an empty folder to the file of a portrait, with what is lit alone."""
    photos = [tmp_path / f"photo-{i}.jpg" for i in range(6)]
    for path, image in zip(photos, demo.photos(astronaut), strict=True):
        pictures.save_jpg(path, image)
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with Page(bench, language="zh-CN") as page:
        page.telephone()
        page.downloads_to(downloads)
        page.tab(1)
        page.wait(lambda: "还没有训练过任何人物" in page.text("#easyphoto_generate_nobody"))
        page.click("#easyphoto_generate_nobody button")
        page.wait(lambda: page.in_sight("#easyphoto_train_start"))
        page.click("#easyphoto_train_start")
        page.wait(lambda: "用户 ID 为空" in page.text("#easyphoto_train_error"))
        page.type("#easyphoto_train_user_id", "小美")
        page.click("#easyphoto_train_start")
        page.wait(lambda: "没有照片" in page.text("#easyphoto_train_error"))
        page.upload("easyphoto_train_upload", photos)
        page.wait_for("#easyphoto_train_report figure.taken", 5, LONG)
        page.unfold()
        for name, value in QUICK_TRAINING.items():
            page.number(f"#easyphoto_train_{name}", value)
        page.settle()
        assert page.script("return document.documentElement.scrollWidth") <= 400
        page.click("#easyphoto_train_start")
        page.wait_for(f"{TRAINING} polyline.loss", seconds=LONG)
        page.wait(lambda: page.in_sight(f"{TRAINING} .easyphoto-panel"))
        page.wait_for(f"{TRAINING} [data-state=finished]", seconds=LONG)
        page.reach(".easyphoto-next button")
        page.click(".easyphoto-next button")
        page.wait(lambda: page.attribute("#easyphoto_generate_user_1 input", "value").startswith("小美"))
        assert page.in_sight("#easyphoto_generate_start")
        page.click("#easyphoto_generate_start")
        page.wait_for(f"{PORTRAITS} img.easyphoto-preview", seconds=LONG)
        assert page.script("return document.documentElement.scrollWidth") <= 400
        page.wait_for(f"{PORTRAITS} [data-state=finished]", seconds=LONG)
        page.reach("#easyphoto_generate_take a")
        page.click("#easyphoto_generate_take a")
        got = page.downloaded(downloads)
        page.click("#easyphoto_generate_take button")
        page.wait_for("#easyphoto_history_one .easyphoto-compare")
        assert page.script("return document.documentElement.scrollWidth") <= 400
        assert page.complaints() == []
    (made,) = place.portraits.glob("*-小美-*.png")
    assert got.name == made.name and got.read_bytes() == made.read_bytes()
    assert pictures.load(got).shape[2] == 3
