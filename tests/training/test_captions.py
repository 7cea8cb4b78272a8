"""Tests of a scene's captions: the scene's own words, those beside a photo, and always the trigger words of its
LoRA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from easyphoto import families, pictures
from easyphoto.config import Family, PortraitConfig
from easyphoto.errors import InvalidRequest
from easyphoto.events import Event
from easyphoto.inference import plan
from easyphoto.storage.triggers import SCENE_TRIGGER
from easyphoto.training import captions
from easyphoto.training.phase import Training
from easyphoto.training.phases.crop import CropPhase
from easyphoto.training.phases.look import LookPhase
from easyphoto.training.spec import TrainingSpec
from tests.fakes import FakeVision, blank, draw_face


def prepared(folder: Path, said: tuple[str, ...] = (), prefix: str = "") -> dict[int, str]:
    """The captions of a scene's three photos by the grey of their corner, after the real preparation. The photo in the
    middle can't be read."""
    paths = []
    for i, gray in enumerate((60, 0, 120, 180)):
        paths.append(folder / f"{i}.jpg")
        pictures.save_jpg(paths[-1], draw_face(blank(200, 200, gray), (100, 100), 90))
    paths[1].write_bytes(b"no picture")
    config = families.spec(Family.BENCH).train_config(
        scene=True, training_prefix_prompt=prefix, resolution=64, skin_retouching_bool=False
    )
    one = TrainingSpec("beach", tuple(paths), config, folder, Family.BENCH, folder, folder / "l", folder, captions=said)
    one = TrainingSpec.from_json(one.to_json())
    events: list[Event] = []
    training = Training(one, folder / "job", FakeVision(), events.append, lambda: False)
    LookPhase().run(training)
    CropPhase().run(training)
    rows = [json.loads(line) for line in (folder / "job/processed_images/metadata.jsonl").read_text().splitlines()]
    grey = [pictures.load(folder / "job/processed_images" / row["file_name"])[:6].mean() for row in rows]
    return {min((60, 120, 180), key=lambda g: abs(g - 25 - v)): row["text"] for v, row in zip(grey, rows, strict=True)}


def test_a_dropped_photo_shifts_no_caption(tmp_path: Path) -> None:
    found = prepared(tmp_path, ("dark", "gone", "grey, special_scene, scene", ""), prefix="a beach, ")
    assert found == {
        60: "dark, special_scene, scene",
        120: "grey, special_scene, scene",
        180: "a beach, special_scene, scene",
    }


def test_a_scene_nobody_described_learns_its_trigger(tmp_path: Path) -> None:
    assert set(prepared(tmp_path).values()) == {SCENE_TRIGGER}
    assert f", {SCENE_TRIGGER}," in plan.text_prompt(
        Family.BENCH, PortraitConfig(text_to_image_input_prompt="a beach"), with_scene=True
    )


def test_text_files_belong_to_the_photos_of_their_stem(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jpg", "b.png", "b.txt", "c.txt")]
    for path in files:
        path.write_text("a beach,\n at noon ", encoding="utf-8")
    photos, texts = captions.split(files)
    assert [p.name for p in photos] == ["a.jpg", "b.png"] and texts["b"] == "a beach, at noon"
    assert (captions.beside(files[0]), captions.beside(files[1])) == ("", "a beach, at noon")
    files[2].write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequest, match=r"b\.txt"):
        captions.beside(files[1])
