"""dlib's face network in torch: the same numbers as dlib's own, and a gradient."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from easyphoto.errors import AssetMissing
from easyphoto.ports import Image
from easyphoto.vision.backends import dlib_net
from easyphoto.vision.backends.dlib_faces import model_file

FILE = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def net() -> dlib_net.DlibNet:
    return dlib_net.load(model_file(FILE))


def chips(*images: Image) -> torch.Tensor:
    sized = [cv2.resize(image, (150, 150), interpolation=cv2.INTER_AREA) for image in images]
    return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float()


def test_descriptors_are_those_of_dlib(net: dlib_net.DlibNet, astronaut: Image, grace_hopper: Image) -> None:
    dlib = pytest.importorskip("dlib")
    theirs = dlib.face_recognition_model_v1(str(model_file(FILE)))
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    seen = chips(astronaut, grace_hopper, noise)
    ours = net(seen).numpy()
    for chip, descriptor in zip(seen.permute(0, 2, 3, 1).byte().numpy(), ours, strict=True):
        assert np.abs(np.array(theirs.compute_face_descriptor(chip)) - descriptor).max() < 2e-6


def test_a_gradient_goes_through_to_the_pixels(net: dlib_net.DlibNet, astronaut: Image) -> None:
    chip = chips(astronaut).double().requires_grad_()
    double = dlib_net.load(model_file(FILE)).double()
    torch.autograd.backward(double(chip)[0, :4].sum())
    assert chip.grad is not None
    place, step = (0, 1, 70, 75), 1e-3
    moved = chip.detach().clone()
    moved[place] += step
    difference = (double(moved)[0, :4].sum() - double(chip.detach())[0, :4].sum()) / step
    assert float(chip.grad[place]) == pytest.approx(float(difference), rel=1e-2, abs=1e-9)


def test_another_file_is_one_sentence(tmp_path: Path) -> None:
    for content in (b"", b"\x01\x05con_4" * 40, model_file(FILE).read_bytes()[:5_000_000]):
        path = tmp_path / "net.dat"
        path.write_bytes(content)
        with pytest.raises(AssetMissing, match="does not hold dlib's face network"):
            dlib_net.load(path)
