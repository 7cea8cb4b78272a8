"""Tests of the backends with weights, through their real loading code, on models of the published shapes with known
answers."""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from easyphoto.catalog import Catalog, Folders
from easyphoto.catalog.locate import destination
from easyphoto.errors import AssetMissing
from easyphoto.ports import Face, Image
from easyphoto.vision import likeness, registry
from easyphoto.vision.backend import Context
from easyphoto.vision.backends import arcface, nets
from easyphoto.vision.backends.bisenet import BiSeNetParser
from easyphoto.vision.backends.five_points import FivePointDetector, drawn_face, locate
from easyphoto.vision.backends.lanczos import LanczosEnhancer
from easyphoto.vision.backends.net_weights import fill, read_state
from easyphoto.vision.backends.onnx_models import OnnxModel
from easyphoto.vision.backends.retouch import RetouchNet
from easyphoto.vision.backends.u2net import U2NetSaliency
from easyphoto.vision.backends.upscale import GpenEnhancer, RrdbEnhancer
from tests.weights import models

RNG = np.random.default_rng(5)


def grey(value: int, size: tuple[int, int] = (640, 640)) -> Image:
    return np.full((*size, 3), value, np.uint8)


def a_face() -> Face:
    return Face(models.FACE_BOX, models.FACE_POINTS)


class OneFace:
    """A detector that always sees the same face."""

    name = "one"

    def detect(self, image: Image) -> list[Face]:
        return [a_face()]


class Eyes:
    detector = OneFace()


def context(models_folder: Path = Path("none")) -> Context:
    vision: Any = Eyes()
    return Context(models=models_folder, vision=vision, landmarks=lambda image, face: drawn_face())


# --- insightface -----------------------------------------------------------------------------------------------------


def test_the_detector_gives_boxes_and_points_in_pixels(tmp_path: Path) -> None:
    detector = arcface.ScrfdDetector(models.detector(tmp_path / "det_10g.onnx"))
    (face,) = detector.detect(grey(99))
    np.testing.assert_allclose(face.box, models.FACE_BOX, atol=0.01)
    np.testing.assert_allclose(face.points, models.FACE_POINTS, atol=0.01)
    assert face.score == pytest.approx(0.9) and face.landmarks is None
    (face,) = detector.detect(grey(99, (1280, 1280)))
    np.testing.assert_allclose(face.box, np.array(models.FACE_BOX) * 2, atol=0.02)


def test_a_face_that_fills_the_picture_is_found_with_a_border(tmp_path: Path) -> None:
    """The model sees nothing in a bright picture; with the black border the picture is dark enough."""
    detector = arcface.ScrfdDetector(models.detector(tmp_path / "det_10g.onnx", brightest=0.0))
    (face,) = detector.detect(grey(255, (320, 320)))
    np.testing.assert_allclose(face.box, np.array(models.FACE_BOX) - 160, atol=0.01)
    blind = arcface.ScrfdDetector(models.detector(tmp_path / "blind.onnx", brightest=-9.0))
    assert blind.detect(grey(255)) == []


def unit(cosine: float) -> tuple[models.Array, models.Array]:
    """Two vectors of 512 with that cosine; of different lengths, because ArcFace's have none in particular."""
    a, b = RNG.normal(size=(2, 512))
    a /= np.linalg.norm(a)
    b -= a * (a @ b)
    b /= np.linalg.norm(b)
    return (20 * a).astype(np.float32), (7 * (cosine * a + np.sqrt(1 - cosine**2) * b)).astype(np.float32)


@pytest.mark.parametrize(
    ("cosine", "score"), [(1.0, 1.0), (0.625, 1.0), (0.3375, 0.5), (0.1, 0.087), (0.05, 0.0), (-0.1, 0.0)]
)
def test_known_vectors_give_known_likeness(tmp_path: Path, cosine: float, score: float) -> None:
    dark, bright = unit(cosine)
    embedder = arcface.ArcFaceEmbedder(models.embedder(tmp_path / "w600k_r50.onnx", dark, bright), "buffalo_l")
    a, b = (embedder.embed(grey(v), a_face()) for v in (0, 255))
    assert a.shape == (512,) and np.linalg.norm(a) == pytest.approx(1)
    np.testing.assert_allclose(a, dark / np.linalg.norm(dark), atol=1e-5)
    found = likeness(embedder, a, b)
    assert found.cosine == pytest.approx(cosine, abs=1e-4)
    assert found.score == pytest.approx(score, abs=0.01)
    assert found.embedder == "buffalo_l"


def looking(folder: Path) -> tuple[arcface.ArcFaceEmbedder, Callable[[Image], models.Array]]:
    """An embedder that gives back numbers of what it sees, and what it has to say of a chip."""
    places = RNG.choice(3 * 112 * 112, 512, replace=False).astype(np.int64)

    def expected(chip: Image) -> models.Array:
        seen = (chip.astype(np.float32).transpose(2, 0, 1).ravel()[places] - 127.5) / 127.5
        return np.asarray(seen / np.linalg.norm(seen), np.float32)

    return arcface.ArcFaceEmbedder(models.looking_embedder(folder / "w.onnx", places), "buffalo_l"), expected


def test_the_face_is_brought_to_where_arcface_expects_it_in_rgb(tmp_path: Path) -> None:
    """Against insightface's own alignment of a face that is not shrunk: same pixels, colours in the same order, the
    same range."""
    from insightface.utils import face_align

    image = cv2.GaussianBlur(RNG.integers(0, 256, (640, 640, 3), dtype=np.uint8), (0, 0), 3)
    points = np.asarray(290 + (models.FACE_POINTS - 290) * 0.5, np.float32)
    embedder, expected = looking(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chip = face_align.norm_crop(image[..., ::-1], points)[..., ::-1]
    face = replace(a_face(), points=points)
    assert float(embedder.embed(image, face) @ expected(chip)) > 0.9999


def test_a_large_face_is_brought_there_by_averaging_areas(tmp_path: Path) -> None:
    """A face three times as large as ArcFace's, under a pattern of single pixels that averages to nothing: each pixel
    of the chip is the mean of nine, where one of the nine alone would show the pattern."""
    left, top = 101, 121
    wide = cv2.resize(RNG.integers(90, 166, (40, 40, 3), dtype=np.uint8), (640, 640), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:640, :640]
    image = (wide.astype(np.int16) + 60 * ((rows + columns) % 3 - 1)[..., None]).clip(0, 255).astype(np.uint8)
    chip = cv2.resize(image[top : top + 336, left : left + 336], (112, 112), interpolation=cv2.INTER_AREA)
    # The middle of nine pixels is the second of three.
    points = np.asarray(arcface.ARCFACE_POINTS * 3 + [left + 1, top + 1], np.float32)
    embedder, expected = looking(tmp_path)
    assert float(embedder.embed(image, replace(a_face(), points=points)) @ expected(chip)) > 0.999


def test_the_swapper_changes_the_face_alone(tmp_path: Path) -> None:
    dark, bright = unit(0.5)
    embedder = arcface.ArcFaceEmbedder(models.embedder(tmp_path / "w.onnx", dark, bright), "buffalo_l")
    fuser = arcface.InswapperFuser(models.swapper(tmp_path / "inswapper_128.onnx"), embedder)
    target = grey(200)
    fused = fuser.fuse(target, a_face(), grey(90), a_face())
    x, y = (round(float(v)) for v in models.FACE_POINTS[2])
    assert fused.shape == target.shape and abs(int(fused[y, x, 0]) - 55) <= 1, "the stub answers with the negative"
    far = np.ones((640, 640), bool)
    far[100:520, 100:480] = False
    np.testing.assert_array_equal(fused[far], target[far])


@pytest.mark.parametrize("load", ["detector", "embedder", "swapper", "saliency", "restorer"])
@pytest.mark.parametrize("kind", ["other", "cut", "text"])
def test_another_model_or_a_broken_one_is_refused_in_one_sentence(tmp_path: Path, load: str, kind: str) -> None:
    path = models.classifier(tmp_path / "model.onnx")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "text":
        path.write_bytes(b"\x08\x07 not a model at all")
    dark, bright = unit(0.5)
    embedder = arcface.ArcFaceEmbedder(models.embedder(tmp_path / "w.onnx", dark, bright), "buffalo_l")
    with pytest.raises(AssetMissing, match=r"model\.onnx is (not the expected model|no ONNX model)"):
        {
            "detector": lambda: arcface.ScrfdDetector(path),
            "embedder": lambda: arcface.ArcFaceEmbedder(path, "buffalo_l"),
            "swapper": lambda: arcface.InswapperFuser(path, embedder),
            "saliency": lambda: U2NetSaliency(path),
            "restorer": lambda: GpenEnhancer(path, LanczosEnhancer(), context()),
        }[load]()


def test_a_swapper_without_its_map_of_identities_is_refused(tmp_path: Path) -> None:
    dark, bright = unit(0.5)
    embedder = arcface.ArcFaceEmbedder(models.embedder(tmp_path / "w.onnx", dark, bright), "buffalo_l")
    with pytest.raises(AssetMissing, match="map of identities"):
        arcface.InswapperFuser(models.swapper(tmp_path / "s.onnx", with_map=False), embedder)


# --- saliency --------------------------------------------------------------------------------------------------------


def test_saliency_is_of_the_pictures_size_and_keeps_to_the_face(tmp_path: Path) -> None:
    saliency = U2NetSaliency(models.saliency(tmp_path / "u2net.onnx"))
    image = np.zeros((480, 640, 3), np.uint8)
    image[150:450, 200:400] = 255  # around the face
    image[20:80, 500:620] = 250  # somebody else
    mask = saliency.mask(image, None)
    assert mask.shape == (480, 640) and mask.dtype == np.float32
    assert mask[300, 300] > 0.95 and mask[50, 560] > 0.9 and mask[460, 20] < 0.05
    own = saliency.mask(image, a_face())
    assert own[300, 300] > 0.95 and own[50, 560] == 0
    assert not saliency.mask(grey(0), None).any(), "a picture without contrast has no foreground"


# --- torch nets ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bisenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("bisenet") / "parsing_bisenet.pth"
    torch.save(nets.BiSeNet().state_dict(), path)
    return path


def test_bisenet_has_the_published_size() -> None:
    """52,650,752 bytes of tensors are recorded for the published file without counters and the two training heads."""
    state = nets.BiSeNet().state_dict()
    counted = [
        v for k, v in state.items() if "num_batches" not in k and not k.startswith(("conv_out16.", "conv_out32."))
    ]
    counters = sum("num_batches" in k and not k.startswith(("conv_out16.", "conv_out32.")) for k in state)
    assert sum(v.numel() * 4 for v in counted) in (52_650_752, 52_650_752 - 8 * counters)


def test_parsing_gives_parts_of_the_pictures_size_around_the_face(bisenet_file: Path) -> None:
    parser = BiSeNetParser(bisenet_file)
    image = RNG.integers(0, 256, (400, 500, 3), dtype=np.uint8)
    face = Face((200, 120, 300, 240), models.FACE_POINTS - 40)
    parts = parser.parse(image, face)
    for name in ("face", "skin", "eyes", "brows", "nose", "lips"):
        mask = getattr(parts, name)
        assert mask.shape == (400, 500) and mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
        assert not mask[:, :100].any() and not mask[350:].any(), "nothing outside the crop of twice the face"
    assert (parts.face + 1e-4 >= parts.skin).all()


def test_only_the_face_that_was_asked_for_is_parsed(bisenet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = BiSeNetParser(bisenet_file)
    chances = np.zeros((19, 512, 512), np.float32)
    chances[1, 180:340, 180:340] = 1.0  # the face in the middle of the crop
    chances[1, 10:100, 10:100] = 1.0  # a neighbour
    chances[12, 300:320, 230:290] = 1.0
    chances[1, 300:320, 230:290] = 0.0
    monkeypatch.setattr(parser, "_chances", lambda square: chances)
    parts = parser.parse(grey(100, (400, 400)), Face((150, 150, 250, 250), models.FACE_POINTS))
    assert parts.face[200, 200] == pytest.approx(1, abs=0.01) and not parts.face[:130, :130].any()
    assert parts.lips.sum() > 0 and (parts.lips * parts.skin).max() < 0.6


@pytest.mark.parametrize("what", ["shape", "missing", "other", "list", "cut"])
def test_weights_that_do_not_fit_say_where(tmp_path: Path, bisenet_file: Path, what: str) -> None:
    state: Any = OrderedDict(torch.load(bisenet_file, weights_only=True))
    path = tmp_path / "bad.pth"
    if what == "shape":
        state["conv_out.conv_out.weight"] = torch.zeros(11, 256, 1, 1)
    elif what == "missing":
        del state["ffm.conv1.weight"]
    elif what == "other":
        state = {"a": torch.zeros(2)}
    elif what == "list":
        state = [1, 2]
    torch.save(state, path)
    if what == "cut":
        path.write_bytes(bisenet_file.read_bytes()[:1_000_000])
    says = {
        "shape": r"conv_out\.conv_out\.weight has the shape \(11, 256, 1, 1\) where \(19, 256, 1, 1\)",
        "missing": r"1 weights are missing and 0 unknown, first ffm\.conv1\.weight",
        "other": "weights are missing and 1 unknown",
        "list": "holds no weights by name",
        "cut": "damaged",
    }[what]
    with pytest.raises(AssetMissing, match=says):
        BiSeNetParser(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    if old:
        path.write_bytes(pickle.dumps({"a": Bomb()}))
    else:
        torch.save({"a": Bomb()}, path)
    with pytest.raises(AssetMissing, match="would run code"):
        read_state(path)
    assert not (tmp_path / "exploded").exists()


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = torch.nn.Linear(2, 3)
    save_file(net.state_dict(), tmp_path / "n.safetensors")
    other = torch.nn.Linear(2, 3)
    fill(other, read_state(tmp_path / "n.safetensors"), tmp_path / "n.safetensors")
    assert torch.equal(net.weight, other.weight) and not other.weight.requires_grad


def retouch_file(path: Path, spread: float) -> Path:
    torch.manual_seed(1)
    net = nets.RetouchUNet()
    torch.nn.init.normal_(net.outc.conv.weight, std=spread)
    torch.nn.init.zeros_(net.outc.conv.bias)
    torch.save({"generator": net.state_dict()}, path)
    return path


def test_retouching_a_map_of_a_half_changes_nothing_and_any_other_the_face_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("easyphoto.vision.backends.retouch.SIDE", 48)  # the network takes any; small is quick
    image = RNG.integers(0, 256, (640, 640, 3), dtype=np.uint8)
    same = RetouchNet(retouch_file(tmp_path / "a.pt", 0.0), context()).retouch(image)
    np.testing.assert_array_equal(same, image)
    other = RetouchNet(retouch_file(tmp_path / "b.pt", 3.0), context()).retouch(image)
    changed = np.argwhere((other != image).any(2))
    left, top, right, bottom = models.FACE_BOX
    assert len(changed) > 1000
    assert changed.min(0)[0] >= top - 60 and changed.max(0)[0] <= bottom + 60
    assert changed.min(0)[1] >= left - 70 and changed.max(0)[1] <= right + 70
    with pytest.raises(AssetMissing, match="no generator"):
        torch.save({"x": torch.zeros(1)}, tmp_path / "c.pt")
        RetouchNet(tmp_path / "c.pt", context())


@pytest.fixture(scope="module")
def rrdb_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("rrdb") / "RealESRGAN_x2plus.pth"
    torch.save({"params_ema": nets.RRDBNet().state_dict()}, path)
    return path


@pytest.mark.slow
def test_enlarging_runs_the_full_network(rrdb_file: Path) -> None:
    enhancer = RrdbEnhancer(rrdb_file)
    image = RNG.integers(0, 256, (3, 6, 3), dtype=np.uint8)
    assert enhancer.enhance(image, 1.0).shape == (3, 6, 3)
    with pytest.raises(ValueError, match="at least 1"):
        enhancer.enhance(image, 0.5)


@pytest.mark.parametrize("size", [(300, 517), (256, 256), (31, 600)])
def test_tiles_leave_no_seams(rrdb_file: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    enhancer = RrdbEnhancer(rrdb_file)
    monkeypatch.setattr(enhancer, "_run", lambda tile: tile.repeat(2, 0).repeat(2, 1))
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(enhancer.enhance(image, 2.0), image.repeat(2, 0).repeat(2, 1))
    assert enhancer.enhance(image, 3.0).shape == (3 * size[0], 3 * size[1], 3)


def test_faces_are_restored_where_they_are(tmp_path: Path) -> None:
    enhancer = GpenEnhancer(models.restorer(tmp_path / "GPEN-BFR-512.onnx"), LanczosEnhancer(), context())
    y, x = np.mgrid[:640, :640]
    image = np.stack([x / 4, y / 4, (x + y) / 8], -1).astype(np.uint8)
    large = enhancer.enhance(image, 2.0)
    assert large.shape == (1280, 1280, 3)
    smooth = cv2.resize(image, (1280, 1280), interpolation=cv2.INTER_LINEAR)
    assert np.abs(large[420:740, 460:700].astype(int) - smooth[420:740, 460:700]).max() <= 3, "the same face, in place"


def test_an_onnx_model_runs_what_it_is_given(tmp_path: Path) -> None:
    model = OnnxModel(models.restorer(tmp_path / "r.onnx"), (None, 3, 512, 512), (None, 3, 512, 512))
    batch = RNG.random((1, 3, 512, 512)).astype(np.float32)
    np.testing.assert_array_equal(model(batch), batch)


# --- five points -----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_faces_without_the_68_point_model(astronaut: Image, six_people: Image) -> None:
    detector = FivePointDetector()
    (face,) = detector.detect(astronaut)
    assert face.landmarks is None and face.points.shape == (5, 2)
    from easyphoto.vision.backends.dlib_faces import DlibDetector

    (other,) = DlibDetector().detect(astronaut)
    between = float(np.linalg.norm(other.points[1] - other.points[0]))
    away = np.linalg.norm(face.points - other.points, axis=1) / between
    assert away[:2].max() < 0.05 and away[2] < 0.1 and away[3:].max() < 0.25
    assert len(detector.detect(six_people)) == 6


def test_the_drawn_face_has_the_order_of_the_scheme_and_follows_the_points() -> None:
    face = drawn_face()
    assert face.shape == (68, 2)
    assert face[0, 0] < face[16, 0] and face[8, 1] == face[:, 1].max(), "jaw from left to right, chin lowest"
    np.testing.assert_allclose(face[36:42].mean(0), (-0.5, 0), atol=0.02)
    np.testing.assert_allclose(face[42:48].mean(0), (0.5, 0), atol=0.02)
    assert face[48, 0] < face[54, 0] and (face[17:27, 1] < face[36:48, 1].min()).all()
    laid = locate(grey(0), a_face())
    np.testing.assert_allclose(laid[30], models.FACE_POINTS[2], atol=1e-3)
    np.testing.assert_allclose(laid[[48, 54]].mean(0), models.FACE_POINTS[3:].mean(0), atol=1e-3)
    np.testing.assert_allclose(laid[36:42].mean(0), models.FACE_POINTS[0], atol=2)


# --- the registry ----------------------------------------------------------------------------------------------------


def place(catalog: Catalog, root: Path, name: str) -> Path:
    path = destination(catalog.assets[name], Folders.under(root))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def stocked(catalog: Catalog, root: Path) -> Path:
    dark, bright = unit(0.5)
    models.detector(place(catalog, root, "buffalo-det_10g"))
    models.embedder(place(catalog, root, "buffalo-w600k_r50"), dark, bright)
    models.embedder(place(catalog, root, "auraface"), dark, bright)
    models.swapper(place(catalog, root, "inswapper"))
    models.saliency(place(catalog, root, "u2net"))
    models.restorer(place(catalog, root, "gpen"))
    return root


PACKAGED = {
    "detector": "dlib",
    "landmarks": "dlib-68",
    "embedder": "dlib-resnet",
    "parser": "landmarks",
    "saliency": "grabcut",
    "retoucher": "smoothing",
    "fuser": "warp",
    "enhancer": "lanczos",
}


def test_weights_that_are_there_serve_and_others_give_way(trusting: Catalog, tmp_path: Path) -> None:
    assert dict(registry.create(tmp_path).backends()) == PACKAGED
    vision = registry.create(stocked(trusting, tmp_path))
    assert dict(vision.backends()) == PACKAGED | {
        "detector": "insightface",
        "embedder": "buffalo_l",
        "saliency": "u2net",
        "fuser": "inswapper",
        "enhancer": "gpen",
    }
    (face,) = vision.detector.detect(grey(90))
    assert vision.embedder.embed(grey(90), face).shape == (512,)
    assert vision.fuser.fuse(grey(90), face, grey(10), face).shape == (640, 640, 3)


def test_weights_are_found_wherever_they_lie_below_the_models(trusting: Catalog, tmp_path: Path) -> None:
    models.detector(tmp_path / "some" / "where" / "det_10g.onnx")
    assert registry.create(tmp_path).backends()["detector"] == "insightface"


def test_commercial_use_only_keeps_the_rest_off_everywhere(trusting: Catalog, tmp_path: Path) -> None:
    vision = registry.create(stocked(trusting, tmp_path), commercial_only=True)
    assert dict(vision.backends()) == PACKAGED | {
        "detector": "dlib-5",
        "landmarks": "drawn",
        "embedder": "auraface",
        "saliency": "u2net",
    }
    wanted = registry.create(tmp_path, backends={"embedder": "buffalo_l"}, commercial_only=True)
    assert wanted.backends()["embedder"] == "auraface"


def test_with_commercial_use_only_a_face_is_parsed_from_five_points(astronaut: Image, tmp_path: Path) -> None:
    vision = registry.create(tmp_path, commercial_only=True)
    (face,) = vision.detector.detect(astronaut)
    parts = vision.parser.parse(astronaut, face)
    x, y = (round(float(v)) for v in face.points[2])
    assert parts.face[y, x] > 0.9 and parts.face[:20].max() == 0
    eye = tuple(round(float(v)) for v in face.points[0])
    assert parts.eyes[eye[1], eye[0]] > 0.9
    assert vision.embedder.embed(astronaut, face).shape == (128,)


def test_a_broken_weight_gives_way_with_one_notice(trusting: Catalog, tmp_path: Path) -> None:
    models.classifier(place(trusting, tmp_path, "u2net"))
    vision: Any = registry.create(tmp_path)
    assert vision.saliency.name == "grabcut"
    vision.release()
    assert vision.saliency.name == "grabcut"
    (notice,) = vision.notices
    assert "u2net" in notice and "is not the expected model" in notice


def test_a_file_of_another_size_than_the_published_is_never_used(tmp_path: Path) -> None:
    """With the real catalog: the made-up model has neither the size nor the checksum."""
    models.saliency(tmp_path / "u2net.onnx")
    assert registry.create(tmp_path).backends()["saliency"] == "grabcut"


def test_a_file_of_the_right_size_with_another_checksum_is_found_out_when_it_is_used(
    trusting: Catalog, tmp_path: Path
) -> None:
    file = models.saliency(place(trusting, tmp_path, "u2net"))
    asset = replace(trusting.assets["u2net"], bytes=file.stat().st_size, about=False, sha256="0" * 64)
    trusting.assets["u2net"] = asset
    vision: Any = registry.create(tmp_path)
    assert vision.saliency.name == "grabcut"
    assert "u2net.onnx are missing" in vision.notices[0] and "models fetch saliency" in vision.notices[0]


def test_every_backend_with_weights_names_assets_of_the_catalog_and_their_licence() -> None:
    from easyphoto.vision.backends import weighted

    catalog = Catalog.load()
    for backend in weighted.BACKENDS:
        assert backend.assets and backend.licence
        assert backend.commercial == all(catalog.assets[a].commercial for a in backend.assets), backend.name
