"""Which photos serve for what, and what the network gets to see of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from easyphoto.config import Family, TrainConfig
from easyphoto.ports import Image
from easyphoto.training import crops, photos
from easyphoto.training.spec import TRIGGER
from tests.fakes import FakeVision, blank, draw_face


@pytest.fixture(autouse=True)
def _any_sharpness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MIN_SHARPNESS", 0.0)


def pictures_of(count: int) -> dict[str, Image]:
    return {f"{i}.jpg": draw_face(blank(300 + i, 260, gray=60 + 8 * i), (150, 110), 60 + i) for i in range(count)}


def chosen(count: int) -> crops.Selection:
    return crops.select(photos.report(list(pictures_of(count).items()), FakeVision()))


@pytest.mark.parametrize(("count", "held"), [(1, 0), (5, 0), (6, 1), (8, 2), (10, 2), (15, 3)])
def test_one_in_five_is_held_out_where_there_are_enough(count: int, held: int) -> None:
    selection = chosen(count)
    assert len(selection.held_out) == held
    assert len(selection.training) == count - held
    assert not {p.name for p in selection.held_out} & {p.name for p in selection.training}
    assert selection.reference in selection.training
    assert selection.scored == (selection.held_out or selection.training)


def test_at_most_fifteen_photos_are_trained_on() -> None:
    assert len(chosen(20).training) == 15


def test_the_crop_is_three_faces_on_white() -> None:
    images = {"a": draw_face(blank(600, 500), (300, 250), 100)}
    selection = crops.select(photos.report(list(images.items()), FakeVision()))
    config = TrainConfig(resolution=128, skin_retouching_bool=False)
    (made,) = crops.person_crops(selection, images, FakeVision(), config, lambda done, total: None)
    assert made.shape == (128, 128, 3)
    assert (made[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    (face,) = FakeVision().detector.detect(made)
    # Faces of 100 x 120 pixels: the square is 360 wide.
    assert face.height == pytest.approx(128 / 3, abs=2)
    assert face.center == pytest.approx((64, 64), abs=2)


def test_a_face_that_saliency_overlooks_is_not_whitened() -> None:
    vision = FakeVision()
    vision.saliency.mask = lambda image, face: np.zeros(image.shape[:2], np.float32)  # type: ignore[method-assign]
    images = {"a": draw_face(blank(600, 500), (300, 250), 100)}
    selection = crops.select(photos.report(list(images.items()), vision))
    (made,) = crops.person_crops(selection, images, vision, TrainConfig(resolution=128), lambda d, t: None)
    assert len(vision.detector.detect(made)) == 1


def test_the_reference_keeps_its_background_and_its_size() -> None:
    images = {"a": draw_face(blank(600, 500), (300, 250), 100)}
    selection = crops.select(photos.report(list(images.items()), FakeVision()))
    reference = crops.reference_picture(selection, images)
    height = reference.shape[0]
    assert reference.shape[0] == reference.shape[1] == pytest.approx(3 * 121, abs=4)
    assert np.array_equal(reference[0, 0], images["a"][250 - height // 2, 300 - height // 2])


def test_processed_pictures_and_captions_come_back(tmp_path: Path) -> None:
    made = [blank(64, 64, gray=g) for g in (60, 180)]
    crops.save(tmp_path, made)
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert rows == [{"file_name": f"train/{i}.jpg", "text": TRIGGER} for i in range(2)]
    images, captions = crops.load(tmp_path)
    assert captions == [TRIGGER, TRIGGER]
    assert abs(images[1].astype(int) - made[1]).max() < 8


def test_a_scene_needs_no_face() -> None:
    config = TrainConfig.for_family(Family.BENCH, scene=True, resolution=64, crop_ratio=2.0)
    images = [blank(120, 80), draw_face(blank(200, 160), (60, 80), 30)]
    seen: list[tuple[int, int]] = []
    made = crops.scene_crops(images, FakeVision(), config, lambda done, total: seen.append((done, total)))
    assert [m.shape for m in made] == [(64, 64, 3)] * 2
    assert seen == [(1, 2), (2, 2)]
    again = crops.scene_crops(images[::-1], FakeVision(), config, lambda done, total: None)
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
