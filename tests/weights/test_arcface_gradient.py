"""A gradient goes through ArcFace's network: torch computes the same file as onnxruntime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from easyphoto.errors import AssetMissing
from easyphoto.ports import Face, FeatureEmbedder, GradientEmbedder
from easyphoto.training import reward_loss
from easyphoto.training.phases import reward
from easyphoto.vision.backends import arcface
from easyphoto.vision.backends.onnx_graph import OnnxGraph
from tests.weights import models


def picture_and_face(scale: float = 1.0, shift: float = 20.0) -> tuple[np.ndarray, Face]:
    """A smooth picture, because two ways of cutting a face out agree only where pixels don't jump."""
    noise = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(5))
    smooth = torch.nn.functional.interpolate(noise, size=(300, 300), mode="bicubic", align_corners=True).clamp(0, 1)
    image = (smooth[0].permute(1, 2, 0) * 255).round().byte().numpy()
    points = np.asarray(arcface.ARCFACE_POINTS * scale + shift, np.float32)
    return image, Face((shift, shift, shift + 112 * scale, shift + 112 * scale), points)


@pytest.mark.parametrize("centres", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_torch_and_onnxruntime_describe_a_face_alike(tmp_path: Path, centres: bool, scale: float) -> None:
    embedder = arcface.ArcFaceEmbedder(models.residual_embedder(tmp_path / "w.onnx", centres=centres), "buffalo_l")
    image, face = picture_and_face(scale)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    chip = reward_loss.chip(pixels, torch.from_numpy(embedder.chip_map(image, face)), embedder.chip_side)
    assert isinstance(embedder, GradientEmbedder)
    np.testing.assert_allclose(embedder.embed_pixels(chip * 255)[0].numpy(), embedder.embed(image, face), atol=3e-3)
    longer = embedder.features(image, face)
    assert isinstance(embedder, FeatureEmbedder) and abs(np.linalg.norm(longer) - 1) > 1e-3, "at its own length"
    np.testing.assert_allclose(longer / np.linalg.norm(longer), embedder.embed(image, face), atol=1e-6)
    # the same pixels, and not only the same face
    exact = arcface.aligned(image, face.points, arcface.ARCFACE_POINTS, 112)
    batch = torch.from_numpy(exact.copy()).permute(2, 0, 1)[None].float()
    np.testing.assert_allclose(embedder.embed_pixels(batch)[0].numpy(), embedder.embed(image, face), atol=1e-5)


def test_the_gradient_is_that_of_finite_differences(tmp_path: Path) -> None:
    embedder = arcface.ArcFaceEmbedder(models.residual_embedder(tmp_path / "w.onnx"), "buffalo_l")
    source = torch.Generator().manual_seed(2)
    chips = torch.rand(2, 3, 112, 112, generator=source) * 255
    goal = embedder.embed_pixels(chips[1:])[0]
    face = chips[:1].clone().requires_grad_()
    (embedder.embed_pixels(face)[0] @ goal).backward()
    assert face.grad is not None
    step = face.grad / face.grad.norm()
    with torch.no_grad():
        up, down = (float(embedder.embed_pixels(chips[:1] + sign * 4 * step)[0] @ goal) for sign in (1, -1))
    assert (up - down) / 8 == pytest.approx(float(face.grad.norm()), rel=0.02)


def test_a_network_with_an_operation_that_is_not_known_says_which(tmp_path: Path) -> None:
    embedder = arcface.ArcFaceEmbedder(models.residual_embedder(tmp_path / "w.onnx", "Softplus"), "buffalo_l")
    with pytest.raises(AssetMissing, match=r"No gradient goes through w\.onnx.*Softplus"):
        embedder.embed_pixels(torch.zeros(1, 3, 112, 112))


@pytest.mark.parametrize("cut", [0, 7, 400])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, cut: int) -> None:
    path = models.residual_embedder(tmp_path / "w.onnx")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AssetMissing, match=r"w\.onnx"):
        OnnxGraph(path)


@pytest.mark.parametrize(("unknown", "has"), [("", True), ("Softplus", False)])
def test_the_reward_knows_before_it_begins_whether_arcface_can_judge(tmp_path: Path, unknown: str, has: bool) -> None:
    embedder = arcface.ArcFaceEmbedder(models.residual_embedder(tmp_path / "w.onnx", unknown), "buffalo_l")
    assert reward.has_gradient(embedder) is has
