"""Tests of the face mesh: the operations that it needs, where its points land, and the published network."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from easyphoto.catalog import Catalog
from easyphoto.errors import AssetMissing
from easyphoto.ports import Face, Image, Points
from easyphoto.vision import geometry, registry
from easyphoto.vision.backends import facemesh
from easyphoto.vision.backends.tfjs_graph import TfjsGraph
from tests.weights.tfjs_files import TfjsWriter

PUBLISHED = os.environ.get("EASYPHOTO_REPORTERS", "")


def test_joined_operations_slopes_and_pooling_do_what_they_do_in_tensorflow(tmp_path: Path) -> None:
    writer = TfjsWriter()
    kernel = np.array([[[[1.0, -1.0]]]], np.float32)
    bias, slope = writer.constant("bias", [1.0, 2.0]), writer.constant("slope", [0.5, 0.25])
    inputs = writer.input(), writer.constant("kernel", kernel), bias, slope
    x = writer.add("joined", "_FusedConv2D", *inputs, joined=("BiasAdd", "Prelu"))
    x = writer.add("sloped", "Prelu", writer.add("less", "Sub", x, writer.constant("five", 5.0)), slope)
    writer.add("out", "Identity", writer.add("pooled", "MaxPool", x, stride=2, size=2))
    graph = TfjsGraph(*writer.write(tmp_path / "net.json", tmp_path / "net.bin"), "out")
    values = np.arange(-8, 8, dtype=np.float32).reshape(1, 4, 4, 1)
    found = graph(torch.from_numpy(values)).numpy()
    plain = values * [1.0, -1.0] + [1.0, 2.0]
    for _ in range(2):
        plain = np.where(plain > 0, plain, plain * [0.5, 0.25]) - (5.0 if _ == 0 else 0.0)
    expected = plain.reshape(1, 2, 2, 2, 2, 2).max((2, 4))
    assert np.allclose(found, expected, atol=1e-6)


def test_what_is_joined_otherwise_is_refused(tmp_path: Path) -> None:
    writer = TfjsWriter()
    kernel = writer.constant("kernel", np.ones((1, 1, 1, 1)))
    writer.add("out", "_FusedConv2D", writer.input(), kernel, writer.constant("b", [0.0]), joined=("BiasAdd", "Elu"))
    with pytest.raises(AssetMissing, match="Elu"):
        TfjsGraph(*writer.write(tmp_path / "net.json", tmp_path / "net.bin"), "out")


def made_mesh(folder: Path, points: Points) -> facemesh.FaceMesh:
    """A network that finds ``points`` (468, 2) in every square."""
    mesh = np.concatenate([points, np.zeros((len(points), 1))], axis=1).astype(np.float32)
    writer = TfjsWriter()
    mean = writer.add("mean", "Mean", writer.input(), writer.constant("axes", [1, 2], "int32"))
    none = writer.add("none", "MatMul", mean, writer.constant("zeros", np.zeros((3, mesh.size))))
    writer.add("Identity_2", "Identity", writer.add("sum", "AddV2", none, writer.constant("mesh", mesh.ravel())))
    return facemesh.FaceMesh(*writer.write(folder / "mesh.json", folder / "mesh.bin"))


def a_face(turn: float, side: float) -> Face:
    """A face around (200, 150) whose eyes are ``side`` apart, and turned by ``turn`` degrees."""
    level = np.array([[-0.5, -0.5], [0.5, -0.5], [0, 0], [-0.4, 0.5], [0.4, 0.5]]) * side
    angle = np.radians(turn)
    turned = level @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return Face(box=(150, 100, 250, 200), points=(np.array([200, 150]) + turned).astype(np.float32))


@pytest.mark.parametrize(("turn", "side"), [(0, 40), (25, 40), (-60, 150)])
def test_the_points_come_back_from_the_square_to_the_picture(tmp_path: Path, turn: float, side: float) -> None:
    points = np.full((facemesh.POINTS, 2), 96, np.float32)
    points[facemesh.OF_68[8]] = 96, 96 + 192 / facemesh.AROUND
    picture: Image = np.zeros((300, 400, 3), np.uint8)
    found = made_mesh(tmp_path, points).locate(picture, a_face(turn, side))
    assert found.shape == (68, 2)
    assert np.allclose(np.delete(found, 8, 0), [200, 150], atol=0.01), "the middle of the square"
    angle = np.radians(turn)
    assert np.allclose(found[8], [200 - side * np.sin(angle), 150 + side * np.cos(angle)], atol=0.01), "below it"


@pytest.mark.skipif(not PUBLISHED, reason="EASYPHOTO_REPORTERS names no folder with the published files")
def test_the_published_mesh_is_that_of_the_catalog_and_finds_the_points(grace_hopper: Image) -> None:
    folder, catalog = Path(PUBLISHED), Catalog.load()
    for kind, suffix in (("graph", "json"), ("weights", "bin")):
        asset, data = catalog.assets[f"facemesh-{kind}"], (folder / f"facemesh.{suffix}").read_bytes()
        assert len(data) == asset.bytes and hashlib.sha256(data).hexdigest() == asset.sha256
    mesh = facemesh.FaceMesh(folder / "facemesh.json", folder / "facemesh.bin")
    (face,) = registry.create(folder).detector.detect(grace_hopper)
    assert face.landmarks is not None
    turned = geometry.similarity(face.points, face.points * 0.8 + 30)
    for image, seen in (
        (grace_hopper, face),
        (geometry.warp(grace_hopper, turned, (500, 500)), geometry.move_face(face, turned)),
    ):
        assert seen.landmarks is not None
        apart = np.hypot(*(mesh.locate(image, seen) - seen.landmarks).T) / seen.width
        assert np.median(apart[17:]) < 0.03 and apart.max() < 0.2
