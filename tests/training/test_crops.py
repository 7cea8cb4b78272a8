"""Tests of which photos are used for what, and of the crops that the network sees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from easyphoto import families
from easyphoto.config import Family, TrainConfig
from easyphoto.inference import stages
from easyphoto.ports import Face, Image
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import crops, photos, samples
from easyphoto.training.samples import Sample
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
    (made,) = crops.person_crops(selection, images, FakeVision(), config, 3.0, lambda done, total: None)
    assert made.known == samples.WHOLE
    assert made.image.shape == (128, 128, 3)
    assert (made.image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    (face,) = FakeVision().detector.detect(made.image)
    # Faces of 100 x 120 pixels: the square is 360 wide.
    assert face.height == pytest.approx(128 / 3, abs=2)
    assert face.center == pytest.approx((64, 64), abs=2)


def test_a_face_that_saliency_overlooks_is_not_whitened() -> None:
    vision = FakeVision()
    vision.saliency.mask = lambda image, face: np.zeros(image.shape[:2], np.float32)  # type: ignore[method-assign]
    images = {"a": draw_face(blank(600, 500), (300, 250), 100)}
    selection = crops.select(photos.report(list(images.items()), vision))
    (made,) = crops.person_crops(selection, images, vision, TrainConfig(resolution=128), 3.0, lambda d, t: None)
    assert len(vision.detector.detect(made.image)) == 1


def test_the_reference_keeps_its_background_and_its_size() -> None:
    images = {"a": draw_face(blank(600, 500), (300, 250), 100)}
    selection = crops.select(photos.report(list(images.items()), FakeVision()))
    reference = crops.reference_picture(selection, images)
    height = reference.shape[0]
    assert reference.shape[0] == reference.shape[1] == pytest.approx(3 * 121, abs=4)
    assert np.array_equal(reference[0, 0], images["a"][250 - height // 2, 300 - height // 2])


def close_up() -> tuple[Image, Face]:
    """A picture of 100 x 160 pixels and a face of 90 x 110 in it, whose forehead lies outside."""
    image = np.random.default_rng(3).integers(0, 256, (100, 160, 3), np.uint8)
    return image, Face((30.0, -20.0, 120.0, 90.0), np.zeros((5, 2), np.float32))


def test_a_face_that_fills_its_photo_gets_room_and_the_photo_stays_as_it_is() -> None:
    image, face = close_up()
    framed, moved, (left, top, right, bottom) = crops.framed(image, face, 3.0)
    side = framed.shape[0]
    assert framed.shape[:2] == (side, side) and side == pytest.approx(crops.ROOM * 110, abs=1)
    assert moved.center == pytest.approx((side / 2, side / 2), abs=1)
    inside = framed[round(top * side) : round(bottom * side), round(left * side) : round(right * side)]
    assert np.array_equal(inside, image)
    assert (framed[0, : round(left * side)] == framed[0, 0]).all()


@pytest.mark.parametrize(("ratio", "side"), [(3.0, 300), (2.1, 210)])
def test_a_face_with_room_is_cut_at_the_ratio_and_known_everywhere(ratio: float, side: int) -> None:
    image = blank(600, 500)
    framed, _, known = crops.framed(image, Face((250.0, 200.0, 350.0, 300.0), np.zeros((5, 2), np.float32)), ratio)
    assert framed.shape == (side, side, 3)
    assert known == samples.WHOLE


@pytest.mark.parametrize("family", [spec.family for spec in families.known()])
def test_faces_are_learned_about_as_large_as_the_chain_draws_them(family: Family) -> None:
    config = families.spec(family).train_config()
    drawn = min(stages.working_size((900, 900), family, 300.0)) / stages.CROP_RATIO
    assert config.resolution / families.spec(family).learning.crop_ratio == pytest.approx(drawn, rel=0.05)


def test_a_close_up_is_trained_on_at_the_size_of_other_faces() -> None:
    images = {"a": draw_face(blank(150, 150), (75, 75), 110)}
    selection = crops.select(photos.report(list(images.items()), FakeVision()))
    config = TrainConfig(resolution=128, skin_retouching_bool=False)
    (made,) = crops.person_crops(selection, images, FakeVision(), config, 3.0, lambda done, total: None)
    (face,) = FakeVision().detector.detect(made.image)
    assert face.height == pytest.approx(128 / crops.ROOM, abs=3)
    assert made.known != samples.WHOLE


def test_where_the_face_is_goes_along_if_it_counts_more(tmp_path: Path) -> None:
    images = {"a": draw_face(blank(300, 300), (150, 150), 80)}
    selection = crops.select(photos.report(list(images.items()), FakeVision()))
    config = TrainConfig(resolution=128, skin_retouching_bool=False, face_weight=3.0)
    made = crops.person_crops(selection, images, FakeVision(), config, 3.0, lambda done, total: None)
    samples.save(tmp_path, made)
    ((found,), _) = samples.load(tmp_path)
    assert found.face is not None and found.face.shape == (128, 128)
    (face,) = FakeVision().detector.detect(found.image)
    x, y = (round(v) for v in face.center)
    assert found.face[y, x] == 1 and not found.face[:8].any() and 0.02 < found.face.mean() < 0.3
    plain = crops.person_crops(
        selection, images, FakeVision(), replace(config, face_weight=1.0), 3.0, lambda done, total: None
    )
    assert plain[0].face is None


def test_processed_pictures_and_captions_come_back(tmp_path: Path) -> None:
    known = (0.125, 0.0, 0.7812, 1.0)
    samples.save(tmp_path, [Sample(blank(64, 64, gray=60)), Sample(blank(64, 64, gray=180), known)])
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert rows[0] == {"file_name": "train/0.jpg", "text": TRIGGER}
    found, captions = samples.load(tmp_path)
    assert captions == [TRIGGER, TRIGGER]
    assert [s.known for s in found] == [samples.WHOLE, known]
    assert abs(found[1].image.astype(int) - blank(64, 64, gray=180)).max() < 8


def test_a_scene_needs_no_face() -> None:
    config = families.spec(Family.BENCH).train_config(scene=True, resolution=64, crop_ratio=2.0)
    images = [blank(120, 80), draw_face(blank(200, 160), (60, 80), 30)]
    seen: list[tuple[int, int]] = []
    made = crops.scene_crops(images, FakeVision(), config, lambda done, total: seen.append((done, total)))
    assert [m.image.shape for m in made] == [(64, 64, 3)] * 2
    assert seen == [(1, 2), (2, 2)]
    again = crops.scene_crops(images[::-1], FakeVision(), config, lambda done, total: None)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(made, again, strict=True))
