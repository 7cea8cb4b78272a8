"""Tests of the split, the packed file and the control pictures."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import cv2
import framing
import numpy as np
import pytest
import torch
from benchkit import CONTROL_KINDS, Faces, Pack, View, control_image, held_out, judging
from framing import ENLARGED, MIRROR, SIZES, mirrored
from latents import Cache, frames_of, weight_map
from pack import encode, source_of, square, views_of
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


def test_nothing_is_learnt_from_the_portraits_that_judge_or_are_held_out() -> None:
    judges = judging(FILES)
    assert len(judges) == 48
    assert not judges & held_out(FILES)


BOX = (170.0, 70.0, 275.0, 175.0)


def source(portrait: np.ndarray, held: bool = False) -> tuple[View, np.ndarray]:
    """The astronaut as a source, her face known."""

    class Found:
        def find(self, picture: np.ndarray, upsample: int = 0) -> tuple[np.ndarray, np.ndarray]:
            box = np.array(BOX, np.float32) * (picture.shape[0] / 512)
            angle = np.linspace(0, 2 * np.pi, 68)
            circle = np.stack([np.cos(angle), np.sin(angle)], 1) / 2 + 0.5
            return box, (box[:2] + circle * (box[2:] - box[:2])).astype(np.float32)

    return source_of(portrait, Found(), {"file": "a.jpg", "caption": "astronaut"}, held)


def test_a_source_is_the_portrait_as_it_is_up_to_a_limit(portrait: np.ndarray) -> None:
    view, picture = source(portrait)
    assert view.kind == "source" and picture.shape == (448, 448, 3)
    assert view.face == pytest.approx([v * 448 / 512 for v in BOX], abs=0.01)


def a_pack(folder: Path, *sources: tuple[View, np.ndarray]) -> Pack:
    Pack.write(folder / "sources.npz", [v for v, _ in sources], [encode(p, 95) for _, p in sources])
    return Pack(folder / "sources.npz")


def test_frames_have_their_shares_and_hold_the_face_large_and_small(portrait: np.ndarray, tmp_path: Path) -> None:
    pack = a_pack(tmp_path, source(portrait))
    frames = frames_of(pack, 0, 60)
    counts = {size: sum(one == size for one, _ in frames) / 60 for size in SIZES}
    assert counts == pytest.approx(SIZES, abs=0.02)
    widths = []
    for size, frame in frames:
        assert frame.picture.shape == (size[1], size[0], 3)
        assert frame.points is not None
        assert frame.points.min() >= 0 and bool((frame.points.max(0) <= size).all()), "no face is cut off"
        widths.append(np.ptp(frame.points[:, 0]) / size[0])
    assert min(widths) < 0.27 and max(widths) > 0.4, "far and near"
    assert 20 <= sum(frame.mirrored for _, frame in frames) <= 40
    again = frames_of(pack, 0, 60)
    assert all(np.array_equal(one.picture, other.picture) for (_, one), (_, other) in zip(frames, again, strict=True))


def test_landmarks_stay_on_the_picture(portrait: np.ndarray) -> None:
    view, picture = source(portrait)
    assert view.landmarks is not None
    marked = picture.copy()
    for number, (x, y) in enumerate(view.landmarks[::17]):
        cv2.circle(
            marked, (round(x), round(y)), 6, [(0, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 0)][number], -1
        )
    for seed in range(12):
        frame = framing.random(marked, view, (256, 352), np.random.default_rng(seed))
        assert frame.points is not None
        order = MIRROR if frame.mirrored else np.arange(68)
        for number, colour in zip((0, 34), ((0, 255, 0), (0, 255, 255)), strict=True):
            x, y = frame.points[list(order).index(number)]
            assert np.abs(frame.picture[round(float(y)), round(float(x))].astype(int) - colour).max() < 90


def test_nothing_is_enlarged_much(portrait: np.ndarray) -> None:
    small = cv2.resize(portrait, (318, 318), interpolation=cv2.INTER_AREA)
    view = View("a", "b", "source", False, [140, 70, 180, 110], None)
    for seed in range(8):
        frame = framing.random(small, view, (256, 256), np.random.default_rng(seed))
        narrowest = ENLARGED * 256
        ratio = cv2.Laplacian(frame.picture, cv2.CV_64F).std() / cv2.Laplacian(small, cv2.CV_64F).std()
        assert ratio > 0.55, f"a cut of less than {narrowest} px would be soft"


def test_a_portrait_that_is_not_learnt_gives_one_frame_as_it_is(portrait: np.ndarray, tmp_path: Path) -> None:
    pack = a_pack(tmp_path, source(portrait, held=True))
    ((size, frame),) = frames_of(pack, 0, 30)
    assert size == (256, 256) and not frame.mirrored and frame.points is not None
    middle = frame.points[:, 0].mean()
    assert 256 * 0.4 < middle < 256 * 0.6


def test_cached_frames_come_back_and_are_split(portrait: np.ndarray, tmp_path: Path) -> None:
    from argparse import Namespace

    from captions import read
    from diffusers import AutoencoderKL
    from latents import encode as encode_all
    from train_vae import CONFIG

    files = sorted(read())
    judge, held = sorted(judging(files))[0], sorted(held_out(files))[0]
    learnt = next(f for f in files if f not in judging(files) and f not in held_out(files))
    named = [
        (View(f, v.caption, v.kind, f != learnt, v.face, v.landmarks), p)
        for f, (v, p) in zip((learnt, judge, held), [source(portrait)] * 3, strict=True)
    ]
    torch.manual_seed(0)
    vae = AutoencoderKL(**{**CONFIG, "block_out_channels": (8, 8, 8, 8)}).eval()
    options = Namespace(device="cpu", pictures=True, variants=5, workers=2)
    encode_all(a_pack(tmp_path, *named), vae, options).save(tmp_path / "latents.pt")
    cache = Cache.load(tmp_path / "latents.pt")
    assert {size: len(bucket) for size, bucket in cache.train.items()} == {(256, 256): 3, (256, 352): 1, (320, 320): 1}
    assert all(bool((bucket.owners == 0).all()) for bucket in cache.train.values())
    assert cache.judged.owners.tolist() == [1]
    tall = cache.train[256, 352]
    assert tall.latents.shape == (1, 4, 44, 32) and tall.weights.shape == (1, 44, 32)
    assert tall.pictures is not None and tall.pictures.shape == (1, 352, 256, 3)


@pytest.mark.parametrize("kind", CONTROL_KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_conditions_on_the_device_are_those_that_are_drawn(kind: str, size: framing.Size, portrait: np.ndarray) -> None:
    from conditions import condition
    from latents import Bucket

    view, picture = source(portrait)
    frame = framing.random(picture, view, size, np.random.default_rng(1))
    drawn = {name: control_image(name, frame.picture, frame.points) for name in CONTROL_KINDS}
    none = torch.zeros(1)
    bucket = Bucket(
        none, none, none, none, none,
        pictures=torch.from_numpy(frame.picture)[None],
        edges=torch.from_numpy(drawn["canny"][:, :, 0].copy())[None],
        dots=torch.from_numpy(drawn["openpose"][:, :, 0].copy())[None],
    )  # fmt: skip
    made = condition(kind, bucket, torch.tensor([0]))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(made - drawn[kind]).max() <= 1


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
    weights = weight_map(points, (256, 256)).float().numpy()
    assert weights.shape == (32, 32)
    assert weights[0, 0] == 1
    assert weights.max() == 5
    assert (weight_map(None, (256, 352)) == 1).all()


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


@pytest.mark.thorough
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
