"""Tests of the reporters: their networks, that none of them judges, and that no judge reports."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from easyphoto import reporting
from easyphoto.catalog import Catalog, Folders, Look
from easyphoto.catalog.locate import destination
from easyphoto.catalog.weight_formats import wrong_file
from easyphoto.errors import AssetMissing
from easyphoto.ports import Calibration, Face, Image
from easyphoto.reporting import ReporterVector
from easyphoto.vision import protocol, registry, reporters
from easyphoto.vision.backends import calibrations, tfjs_faces
from easyphoto.vision.backends.tfjs_graph import TfjsGraph
from easyphoto.vision.remote import RemoteVision
from tests.weights.tfjs_files import TfjsWriter, averaging

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = os.environ.get("EASYPHOTO_REPORTERS", "")


def a_face(size: float = 112.0) -> Face:
    """A face whose points lie where the networks want them in a square of 112 pixels."""
    return Face(box=(0, 0, size, size), points=tfjs_faces.ARCFACE_POINTS * np.float32(size / 112))


def picture(seed: int, side: int = 112) -> Image:
    blocks = np.random.default_rng(seed).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    image: Image = cv2.resize(blocks, (side, side), interpolation=cv2.INTER_NEAREST)
    return image


# --- the networks ----------------------------------------------------------------------------------------------------


def by_hand(image: Image, kernel: np.ndarray, each: np.ndarray) -> float:
    """What the graph of the next test makes of a picture (5, 5, 3), written out."""
    x = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))  # SAME with a stride of 2: one pixel on either side
    first = np.zeros((3, 3, 2))
    for row in range(3):
        for column in range(3):
            part = x[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            first[row, column] = np.tensordot(part, kernel, 3)
    first = np.maximum(first, 0) + np.array([0.25, 0.5]) * np.minimum(first, 0)
    wide = np.pad(first, ((0, 1), (0, 1), (0, 0)))
    second = np.zeros((3, 3, 2))
    for row in range(3):
        for column in range(3):
            second[row, column] = (wide[row : row + 2, column : column + 2] * each[..., 0]).sum((0, 1))
    return float((np.maximum(second, 0).mean((0, 1)) @ np.array([[1.0], [2.0]]))[0])


@pytest.mark.parametrize("saved", ["float32", "float16"])
def test_each_operation_does_what_it_does_in_tensorflow(tmp_path: Path, saved: str) -> None:
    draw = np.random.default_rng(3)
    kernel = (draw.integers(-8, 8, (3, 3, 3, 2)) / 8).astype(np.float32)
    each = (draw.integers(-8, 8, (2, 2, 2, 1)) / 8).astype(np.float32)
    writer = TfjsWriter(saved)
    x = writer.input()
    x = writer.add("first", "Conv2D", x, writer.constant("kernel", kernel), stride=2, padding="SAME")
    zero = writer.constant("zero", 0.0)
    up, down = writer.add("up", "Maximum", x, zero), writer.add("down", "Minimum", x, zero)
    x = writer.add("prelu", "AddV2", up, writer.add("slope", "Mul", writer.constant("a", [0.25, 0.5]), down))
    x = writer.add("wide", "Pad", x, writer.constant("border", [[0, 0], [0, 1], [0, 1], [0, 0]], "int32"))
    x = writer.add("each", "DepthwiseConv2dNative", x, writer.constant("deep", each))
    x = writer.add("relu", "Relu", x)
    x = writer.add("pooled", "Mean", x, writer.constant("axes", [1, 2], "int32"))
    writer.add("out", "MatMul", x, writer.constant("dense", [[1.0], [2.0]]))
    graph = TfjsGraph(*writer.write(tmp_path / "net.json", tmp_path / "net.bin"), "out")
    image = draw.integers(0, 255, (5, 5, 3)).astype(np.uint8)
    found = graph(torch.from_numpy(image.astype(np.float32))[None])
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(by_hand(image, kernel, each), rel=1e-5)


def test_the_odd_pixel_of_a_border_lies_behind_the_picture(tmp_path: Path) -> None:
    writer = TfjsWriter()
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[0, 0] = 1
    writer.add("out", "Conv2D", writer.input(), writer.constant("k", kernel), stride=2, padding="SAME")
    graph = TfjsGraph(*writer.write(tmp_path / "net.json", tmp_path / "net.bin"), "out")
    image = torch.arange(16, dtype=torch.float32).reshape(1, 4, 4, 1)
    assert graph(image).flatten().tolist() == [0.0, 2.0, 8.0, 10.0]


def cut_short(graph: Path, weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-2])


def too_long(graph: Path, weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"00")


def no_json(graph: Path, weights: Path) -> None:
    graph.write_bytes(b"\xff<html>")


def another_operation(graph: Path, weights: Path) -> None:
    graph.write_text(graph.read_text().replace('"Sub"', '"PyFunc"'))


def no_such_input(graph: Path, weights: Path) -> None:
    graph.write_text(graph.read_text().replace('["light", "grey"]', '["light", "nobody"]'))


def no_weights(graph: Path, weights: Path) -> None:
    weights.unlink()


@pytest.mark.parametrize("damage", [cut_short, too_long, no_json, another_operation, no_such_input, no_weights])
def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path, damage: object) -> None:
    files = averaging("out", tmp_path / "net.json", tmp_path / "net.bin")
    damage(*files)  # type: ignore[operator]
    with pytest.raises(AssetMissing, match=r"^net\.json is damaged and can't be loaded \(.*\)\.$"):
        TfjsGraph(*files, "out")


# --- who reports -----------------------------------------------------------------------------------------------------


def stock(catalog: Catalog, root: Path, net: tfjs_faces.TfjsFaceNet) -> None:
    graph, weights = (
        destination(catalog.assets[f"{net.name}-{kind}"], Folders.under(root)) for kind in ("graph", "weights")
    )
    averaging(net.output, graph, weights, side=net.side)


def test_without_a_download_nobody_reports_on_the_packaged_judge(tmp_path: Path) -> None:
    vision = registry.create(tmp_path)
    assert vision.embedder.name == "dlib-resnet"
    assert reporting.of(vision) is None
    assert reporters.served_by(tmp_path, "dlib-resnet") is None


def test_the_packaged_embedder_reports_where_another_judges(tmp_path: Path) -> None:
    assert reporters.served_by(tmp_path, "buffalo_l") == "dlib-resnet"
    assert reporters.served_by(tmp_path, "auraface", commercial_only=True) == "dlib-resnet"


def test_the_reporter_knows_a_face_again_and_another_one_not(trusting: Catalog, tmp_path: Path) -> None:
    stock(trusting, tmp_path, tfjs_faces.FACERES)
    reporter = reporting.of(registry.create(tmp_path))
    assert reporter is not None and reporter.name == "faceres"
    one, again, other = (reporter.witness(p, a_face()) for p in (picture(1), picture(1), picture(2)))
    assert float(np.linalg.norm(one.numbers)) == pytest.approx(1, abs=1e-5)
    assert one.cosine(again) == pytest.approx(1, abs=1e-5)
    assert one.cosine(other) < 0.9


def test_what_was_downloaded_is_kept_and_found(tmp_path: Path) -> None:
    """The checks of a download know what the files of a reporter look like, and the inventory finds them anywhere."""
    catalog = Catalog.load()
    files = [catalog.assets[f"faceres-{kind}"].file for kind in ("graph", "weights")]
    averaging("out", tmp_path / files[0], tmp_path / files[1])
    for file in files:
        assert wrong_file(tmp_path / file) is None
    moved = tmp_path / "some" / "where"
    moved.mkdir(parents=True)
    (tmp_path / files[0]).rename(moved / files[0])
    loose = {n: replace(a, sha256=None, sha256_from="", about=True) for n, a in catalog.assets.items()}
    look = Look(Catalog(loose, catalog.bundles), Folders.under(tmp_path))
    assert look.path("faceres-graph") == moved / files[0]
    assert look.path("faceres-weights") == tmp_path / files[1]


def test_commercial_use_only_takes_the_reporter_that_is_free(trusting: Catalog, tmp_path: Path) -> None:
    stock(trusting, tmp_path, tfjs_faces.FACERES)
    assert reporting.of(registry.create(tmp_path, commercial_only=True)) is None
    stock(trusting, tmp_path, tfjs_faces.MOBILEFACE)
    free = reporting.of(registry.create(tmp_path, commercial_only=True))
    assert free is not None and free.name == "mobileface"


def test_a_damaged_reporter_is_noticed_and_the_next_one_serves(trusting: Catalog, tmp_path: Path) -> None:
    stock(trusting, tmp_path, tfjs_faces.FACERES)
    stock(trusting, tmp_path, tfjs_faces.MOBILEFACE)
    (tmp_path / "faceres-weights.tfjs").write_bytes(b"too short")
    vision = registry.create(tmp_path)
    reporter = reporting.of(vision)
    assert reporter is not None and reporter.name == "mobileface"
    (notice,) = vision.notices  # type: ignore[attr-defined]
    assert "faceres could not be loaded" in notice


@pytest.mark.thorough
def test_a_reporter_crosses_to_another_process(tmp_path: Path) -> None:
    """The worker has no weights here, so it has no reporter either, and says so."""
    remote = RemoteVision(lambda: Path(sys.executable), {"models": str(tmp_path)})
    try:
        assert reporting.of(remote) is None
        assert remote.embedder.calibration == registry.create(tmp_path).embedder.calibration
    finally:
        remote.release()


def test_a_reporters_vector_comes_through_the_pipe(tmp_path: Path) -> None:
    writer, reader = protocol.Writer(tmp_path, "a"), protocol.Reader(tmp_path)
    sent = ReporterVector(np.array([0.6, 0.8], np.float32), "faceres")
    got = protocol.unpack(protocol.pack(sent, writer), reader)
    assert isinstance(got, ReporterVector) and got.cosine(sent) == pytest.approx(1)
    calibration = Calibration(0.7, 0.1, 0.1, 0.2, "photos", 0.4, 0.5)
    assert protocol.unpack(protocol.pack(calibration, writer), reader) == calibration
    reader.close()
    writer.close()


# --- judge and reporter are kept apart -------------------------------------------------------------------------------


def test_a_reporters_vector_fits_nowhere_where_a_judges_does(tmp_path: Path) -> None:
    told = ReporterVector(np.array([1.0, 0.0], np.float32), "one")
    with pytest.raises(TypeError):
        float(np.dot(told, np.array([1.0, 0.0])))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mean nothing to each other"):
        told.cosine(ReporterVector(told.numbers, "another"))
    with pytest.raises(AttributeError):
        told.cosine(told.numbers)  # type: ignore[arg-type]


MIXED = """
from easyphoto.ports import Embedding, Face, FaceEmbedder, Image
from easyphoto.reporting import FaceReporter, ReporterVector

def judged(judge: FaceEmbedder) -> None: ...
def told(reporter: FaceReporter) -> None: ...
def by_judge(vector: Embedding) -> None: ...

def mixed(judge: FaceEmbedder, reporter: FaceReporter, vector: ReporterVector, image: Image, face: Face) -> None:
    judged(judge)
    told(reporter)
    judged(reporter)
    told(judge)
    by_judge(vector)
    vector.cosine(judge.embed(image, face))
"""


@pytest.mark.slow
def test_the_types_refuse_one_where_the_other_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mixed.py"
    path.write_text(MIXED)
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--strict",
         "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent", "--no-color-output", str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    told = [line for line in ran.stdout.splitlines() if ": error:" in line]
    lines = sorted(int(line.split("mixed.py:")[1].split(":")[0]) for line in told)
    assert lines == [12, 13, 14, 15], ran.stdout + ran.stderr


# --- what was measured -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dlib-resnet", "faceres", "mobileface"])
def test_a_calibration_says_on_what_and_how_many_pairs(name: str) -> None:
    found, calibration = calibrations.measured(name), calibrations.load(name)
    assert found["embedder"] == name
    assert found["same"]["pairs"] >= 50 and found["strangers"]["pairs"] >= 10_000
    assert str(found["strangers"]["pairs"]) in calibration.source
    assert calibration.stranger_mean < calibration.threshold < calibration.strict_threshold < 1
    assert calibration.threshold == found["thresholds"]["far_1"]
    assert found["accepted"]["far_1"] >= found["accepted"]["far_01"] > 0


def test_thresholds_that_nobody_measured_are_those_of_a_normal_distribution() -> None:
    calibration = Calibration(0.6, 0.1, 0.1, 0.1, "published")
    assert calibration.threshold == pytest.approx(0.3326)
    assert calibration.strict_threshold == pytest.approx(0.409)


@pytest.mark.skipif(not PUBLISHED, reason="EASYPHOTO_REPORTERS names no folder with the published files")
@pytest.mark.parametrize("net", [tfjs_faces.FACERES, tfjs_faces.MOBILEFACE], ids=lambda net: net.name)
def test_the_published_files_are_those_of_the_catalog_and_know_a_real_face(net: tfjs_faces.TfjsFaceNet) -> None:
    folder, catalog = Path(PUBLISHED), Catalog.load()
    for kind, suffix in (("graph", "json"), ("weights", "bin")):
        asset = catalog.assets[f"{net.name}-{kind}"]
        data = (folder / f"{net.name}.{suffix}").read_bytes()
        assert len(data) == asset.bytes and hashlib.sha256(data).hexdigest() == asset.sha256
    assert json.loads((folder / f"{net.name}.json").read_text())["format"] == "graph-model"
    reporter = tfjs_faces.TfjsReporter(net, folder / f"{net.name}.json", folder / f"{net.name}.bin")
    from matplotlib import cbook

    image = cv2.cvtColor(cv2.imread(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))), cv2.COLOR_BGR2RGB)
    detector = registry.create(folder).detector
    (face,) = detector.detect(image)
    darker = np.clip(image * 0.7 + 10, 0, 255).astype(np.uint8)
    flipped = np.ascontiguousarray(image[:, ::-1])
    (mirrored,) = detector.detect(flipped)
    one = reporter.witness(image, face)
    assert one.cosine(reporter.witness(darker, face)) > 0.9
    assert one.cosine(reporter.witness(flipped, mirrored)) > reporter.calibration.strict_threshold
