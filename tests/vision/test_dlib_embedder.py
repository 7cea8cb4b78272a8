"""Tests of the embedder that needs no download: torch computes it if torch is there, and dlib otherwise, with the same
result."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from easyphoto.errors import AssetMissing
from easyphoto.ports import Face, Image, Points
from easyphoto.vision.backends import dlib_faces
from easyphoto.vision.backends.dlib_faces import DlibEmbedder, NativeNet, model_file

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"

Faces = list[tuple[Image, Face]]


def its_own(image: Image, face: Face) -> Points:
    assert face.landmarks is not None
    return face.landmarks


@pytest.fixture(scope="module")
def faces(
    astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face, six_people: Image, six_faces: list[Face]
) -> Faces:
    return [(astronaut, collins), (grace_hopper, hopper), *((six_people, face) for face in six_faces)]


@pytest.fixture(scope="module")
def embedder() -> DlibEmbedder:
    return DlibEmbedder(its_own)


@pytest.fixture(scope="module")
def native() -> DlibEmbedder:
    """As it is where torch can't be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dlib_faces, "face_net", NativeNet)
        return DlibEmbedder(its_own)


def pixels(embedder: DlibEmbedder, faces: Faces) -> torch.Tensor:
    return torch.from_numpy(np.stack([embedder.chip(*f) for f in faces])).permute(0, 3, 1, 2).float()


def test_torch_and_dlib_give_the_same_vectors(embedder: DlibEmbedder, native: DlibEmbedder, faces: Faces) -> None:
    ours, theirs = (np.array([e.embed(*face) for face in faces]) for e in (embedder, native))
    assert np.abs(ours - theirs).max() < 5e-6
    cosines = ours @ theirs.T - theirs @ theirs.T
    assert np.abs(cosines).max() < 1e-5
    assert np.abs(embedder.describe(*faces[0]) - native.describe(*faces[0])).max() < 2e-6
    assert (embedder.name, embedder.calibration) == (native.name, native.calibration)


@pytest.mark.thorough
def test_many_at_once_are_as_one_by_one(embedder: DlibEmbedder, native: DlibEmbedder, faces: Faces) -> None:
    for each in (embedder, native):
        together = each.embed_all(faces)
        assert together.shape == (len(faces), 128) and together.dtype == np.float32
        assert np.abs(together - [each.embed(*face) for face in faces]).max() < 1e-6
        assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
        assert each.embed_all([]).shape == (0, 128)


@pytest.mark.thorough
def test_threads_share_it(embedder: DlibEmbedder, faces: Faces) -> None:
    alone = [embedder.embed(*face) for face in faces]
    with ThreadPoolExecutor(4) as threads:
        for seen, vector in zip(threads.map(lambda f: embedder.embed(*f), faces * 3), alone * 3, strict=True):
            np.testing.assert_allclose(seen, vector, atol=1e-6)


def test_pixels_give_the_same_vectors_and_a_gradient(embedder: DlibEmbedder, faces: Faces) -> None:
    chips = pixels(embedder, faces[:2]).requires_grad_()
    made = embedder.embed_pixels(chips)
    assert np.abs(made.detach().numpy() - embedder.embed_all(faces[:2])).max() < 1e-6
    torch.autograd.backward(made[0] @ made[1])
    assert chips.grad is not None and bool((chips.grad.abs().amax((1, 2, 3)) > 0).all())


def test_a_step_along_the_gradient_brings_two_faces_nearer(embedder: DlibEmbedder, faces: Faces) -> None:
    """In double precision, which the network is asked for by the chips' own type."""
    chips = pixels(embedder, faces[:2]).double()
    goal = embedder.embed_pixels(chips[1:])[0]
    face = chips[:1].clone().requires_grad_()
    before = embedder.embed_pixels(face)[0] @ goal
    assert before.dtype is torch.float64
    torch.autograd.backward(before)
    assert face.grad is not None
    step = 1e-3 * face.grad / face.grad.norm()
    gained = embedder.embed_pixels(face.detach() + step)[0] @ goal - before.detach()
    assert float(gained) == pytest.approx(float((step * face.grad).sum()), rel=1e-2)


def test_without_torch_dlib_computes_it_and_says_that_it_has_no_gradient(native: DlibEmbedder) -> None:
    with pytest.raises(AssetMissing, match="needs a torch"):
        native.embed_pixels(torch.zeros(1, 3, 150, 150))


ALONE = """
import sys
from importlib.util import find_spec
from pathlib import Path
import numpy as np
from easyphoto.vision import registry

vision = registry.create(Path("no-weights-here"))
assert vision.backends()["embedder"] == "dlib-resnet"
assert not any(name in sys.modules for name in ("torch", "dlib")), "asking which backends serve loads nothing"
sys.modules["torch"] = None
from easyphoto.vision.backends import dlib_faces
net = dlib_faces.face_net(dlib_faces.model_file(sys.argv[1]))
print(type(net).__name__, net.describe([np.full((150, 150, 3), 128, np.uint8)]).shape)
"""


def test_where_torch_is_missing_dlib_serves_and_nothing_loads_before_it_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, WEIGHTS], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "NativeNet (1, 128)", done.stderr
    assert model_file(WEIGHTS).is_file()
