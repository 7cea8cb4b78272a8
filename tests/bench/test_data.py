"""Tests of the split, the packed file and the control pictures."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchkit import CONTROL_KINDS, Faces, Pack, View, control_image, held_out
from latents import MIRROR, mirrored, variants, weight_map
from pack import encode, square, views_of
from skimage import data as samples

from easyphoto.vision import annotate

FILES = [f"set/{number:05}.jpg" for number in range(1198)]


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return samples.astronaut()


def test_the_split_depends_on_names_alone() -> None:
    held = held_out(FILES)
    assert len(held) == 150
    assert held == held_out(reversed(FILES))
    assert held < set(FILES)


def test_the_split_hardly_moves_when_portraits_are_added() -> None:
    more = [*FILES, *(f"more/{number}.jpg" for number in range(12))]
    assert len(held_out(FILES) & held_out(more)) >= 140


def test_views_share_one_side_of_the_split_and_hold_the_face(portrait: np.ndarray) -> None:
    class Faces:
        def find(self, picture: np.ndarray, upsample: int = 0) -> tuple[np.ndarray, np.ndarray]:
            box = np.array([170, 70, 275, 175], np.float32)
            return box, np.linspace(box[:2], box[2:], 68, dtype=np.float32)

    views = views_of(portrait, Faces(), {"file": "a.jpg", "caption": "astronaut"}, held=True)
    assert {view.kind for view, _ in views} == {"tight"}, "the face is too small for the whole picture at 256 px"
    for view, picture in views:
        assert view.held
        assert picture.shape == (256, 256, 3)
        assert view.face is not None
        assert 256 / 2.3 < view.face[2] - view.face[0] < 256 / 1.9


def test_square_stays_inside_the_picture(portrait: np.ndarray) -> None:
    cut, left, top, side = square(portrait, (5.0, 500.0), 300.0)
    assert cut.shape[:2] == (300, 300)
    assert (left, top, side) == (0.0, 212.0, 300.0)


def test_a_pack_gives_back_what_was_written(tmp_path: Path, portrait: np.ndarray) -> None:
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    views = [View("a.jpg", "one", "whole", False, None, None), View("b.jpg", "two", "tight", True, [1, 2, 3, 4], None)]
    Pack.write(tmp_path / "pack.npz", views, [encode(small, 90), encode(small[:, ::-1].copy(), 90)])
    pack = Pack(tmp_path / "pack.npz")
    assert pack.views == views
    assert (pack.indices(held=False), pack.indices(held=True)) == ([0], [1])
    assert cv2.PSNR(pack.image(0), small) > 30
    assert cv2.PSNR(pack.image(1), small[:, ::-1]) > 30


def test_held_out_views_are_never_augmented(portrait: np.ndarray) -> None:
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    assert len(variants(small, View("a", "b", "whole", True, None, None), (True, 3), 0)) == 1
    assert len(variants(small, View("a", "b", "whole", False, None, None), (True, 3), 0)) == 5


def test_mirrored_landmarks_keep_their_meaning() -> None:
    assert sorted(MIRROR) == list(range(68))
    assert (MIRROR[MIRROR] == np.arange(68)).all()
    picture = np.zeros((256, 256, 3), np.uint8)
    points = np.tile(np.array([[100.0, 80.0]], np.float32), (68, 1))
    points[36] = (60, 80)
    _, turned = mirrored(picture, points)
    assert turned is not None
    assert tuple(turned[45]) == (195.0, 80.0), "the outer corner of one eye becomes that of the other"


def test_faces_weigh_more_than_the_background() -> None:
    angle = np.linspace(0, 2 * np.pi, 68)
    points = np.stack([128 + 50 * np.cos(angle), 128 + 60 * np.sin(angle)], axis=1).astype(np.float32)
    weights = weight_map(points).float().numpy()
    assert weights.shape == (32, 32)
    assert weights[0, 0] == 1
    assert weights.max() == 5
    assert (weight_map(None) == 1).all()


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_control_pictures_are_those_that_inference_draws(kind: str, portrait: np.ndarray) -> None:
    points = np.random.default_rng(0).uniform(0, 255, (68, 2)).astype(np.float32)
    picture = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    made = control_image(kind, picture, points)
    assert made.shape == picture.shape
    assert made.dtype == np.uint8
    if kind == "canny":
        assert np.array_equal(made, annotate.canny(picture))
    if kind == "openpose":
        assert np.array_equal(made, annotate.openpose_face((256, 256), [points]))
    if kind == "color":
        assert np.array_equal(made, annotate.color_grid(picture))
    if kind == "tile":
        assert np.abs(made.astype(int) - picture).mean() < 20
        assert cv2.Laplacian(made, cv2.CV_64F).std() < cv2.Laplacian(picture, cv2.CV_64F).std() / 2


def test_the_evaluation_takes_each_portrait_once_and_then_its_crops(tmp_path: Path, portrait: np.ndarray) -> None:
    from evaluate import Bench

    pictures = {"far.jpg": portrait[:290, 70:360], "near.jpg": portrait[30:220, 130:320]}
    packed = [
        pair
        for name, picture in pictures.items()
        for pair in views_of(np.ascontiguousarray(picture), Faces(), {"file": name, "caption": "woman"}, held=True)
    ]
    Pack.write(tmp_path / "few.npz", [view for view, _ in packed], [encode(small, 90) for _, small in packed])
    pack = tmp_path / "few.npz"
    options = Namespace(model=tmp_path, out=tmp_path, limit=0, device="cpu", pack=pack, portraits=tmp_path)
    portraits, crops = Bench(options).with_crops()
    assert [(view.file, view.kind) for view, _ in portraits] == [
        ("far.jpg", "whole"),
        ("near.jpg", "whole"),
        ("far.jpg", "tight"),
    ]
    assert crops == [2, 1]
    for place in crops:
        view = portraits[place][0]
        assert view.face is not None
        assert view.face[2] - view.face[0] >= 0.4 * 256
