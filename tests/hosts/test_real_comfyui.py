"""The ComfyUI host against a real ComfyUI on the CPU, with narrow random models, and beside the embedded host.

    COMFYUI_ROOT=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python pytest -m host tests/hosts/test_real_comfyui.py

Nothing is written into that ComfyUI: its folders for this test are made elsewhere. What was run is in docs/comfyui.md.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.config import Family, Paths
from easyphoto.errors import Cancelled, HostFailed
from easyphoto.hosts.comfyui import ComfyUIHost, address
from easyphoto.hosts.comfyui.client import ComfyPicture, ComfyUIClient
from easyphoto.hosts.embedded import EmbeddedHost, library
from easyphoto.pictures import load
from easyphoto.ports import Control, ControlRole, Img2Img, Txt2Img
from tests.fakes import FakeVision
from tests.hosts.real_comfyui import ROOT, base, marks, url

PICTURE = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
MASK = np.zeros((128, 128), np.float32)
MASK[30:90, 40:100] = 1
ASKED: dict[str, Any] = {
    "prompt": "a face",
    "negative_prompt": "blurry",
    "width": 128,
    "height": 128,
    "steps": 6,
    "seed": 7,
    "checkpoint": "narrow-sd15.safetensors",
}
JOB = Img2Img(**ASKED, image=PICTURE, denoising_strength=0.5, sampler="DPM++ 2M Karras")
CONTROLS = [Control(ControlRole.CANNY, PICTURE, 0.5), Control(ControlRole.COLOR, PICTURE, 0.85)]

pytestmark = marks()
__all__ = ["base", "url"]


@pytest.fixture(scope="module")
def paths(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The same models where the embedded host looks for them."""
    data = tmp_path_factory.mktemp("data")
    models = data / "models"
    (models / "Lora").mkdir(parents=True)
    (models / library.CHECKPOINTS).symlink_to(base / "models" / "checkpoints")
    (models / library.CONTROLNET_MODELS).symlink_to(base / "models" / "controlnet")
    (models / "tokenizer").symlink_to(ROOT / "comfy" / "sd1_tokenizer")
    return Paths(data / "outputs", models, models / "Lora", data / "templates", data / "no bench")


@pytest.fixture(scope="module")
def comfyui(url: str, paths: Paths) -> ComfyUIHost:
    return ComfyUIHost(address.read(url), paths, FakeVision())


@pytest.fixture(scope="module")
def embedded(paths: Paths) -> EmbeddedHost:
    import torch

    return EmbeddedHost(paths, FakeVision(), device="cpu", dtype=torch.float32)


def test_what_it_has(comfyui: ComfyUIHost) -> None:
    assert comfyui.checkpoints()[0].name == "narrow-sd15-other.safetensors"
    assert comfyui.checkpoints()[0].family is Family.SD1
    assert comfyui.controls(Family.SD1) == library.DRAWN
    assert "DPM++ 2M SDE Karras" in comfyui.samplers()
    assert comfyui.describe()["soft controls"] is True


@pytest.mark.parametrize(
    ("job", "most"),
    [
        pytest.param(JOB, 2, id="DPM++ 2M Karras"),
        # the noise levels between those of the training are interpolated in another way
        pytest.param(replace(JOB, sampler="Euler"), 8, id="Euler"),
        pytest.param(replace(JOB, mask=MASK, mask_blur=4), 2, id="mask"),
        pytest.param(replace(JOB, mask=MASK, mask_blur=4, controls=CONTROLS), 2, id="soft controls"),
    ],
)
def test_the_same_picture_as_in_the_embedded_host(
    comfyui: ComfyUIHost, embedded: EmbeddedHost, job: Img2Img, most: int
) -> None:
    ours, theirs = comfyui.img2img(job), embedded.img2img(job)
    difference = np.abs(ours.image.astype(int) - theirs.image.astype(int))
    print(f"largest difference {difference.max()}, mean {difference.mean():.3f}")
    assert difference.max() <= most, (difference.max(), difference.mean())
    assert difference.mean() < 1  # ComfyUI cuts off what the embedded host rounds
    assert ours.infotext == theirs.infotext


def test_controls_hold_the_picture(comfyui: ComfyUIHost) -> None:
    free, held = comfyui.img2img(JOB), comfyui.img2img(replace(JOB, controls=CONTROLS))
    assert (free.image != held.image).any()


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "LCM"])
def test_a_picture_from_text(comfyui: ComfyUIHost, sampler: str) -> None:
    job = Txt2Img(**{**ASKED, "prompt": "(a face:1.3), [hat] BREAK tree"}, sampler=sampler)
    first, second = comfyui.txt2img(job), comfyui.txt2img(job)
    assert first.image.std() > 5
    np.testing.assert_array_equal(first.image, second.image)


def test_nothing_of_it_stays(comfyui: ComfyUIHost, base: Path) -> None:
    comfyui.img2img(replace(JOB, mask=MASK))
    left = [path for path in base.rglob("*.png") if "temp" in path.parts or "output" in path.parts]
    assert left and all(load(path).shape == (1, 1, 3) for path in left)


def test_cancelling_leaves_comfyui_free(comfyui: ComfyUIHost, url: str) -> None:
    def cancel(done: int, total: int) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        comfyui.img2img(replace(JOB, steps=60, denoising_strength=1.0), cancel)
    client, deadline = ComfyUIClient(address.read(url)), time.monotonic() + 60
    while client.queue().running and time.monotonic() < deadline:
        time.sleep(0.2)
    assert client.queue().running == ()
    assert comfyui.img2img(JOB).image.shape == PICTURE.shape


def test_a_missing_picture_is_refused_with_its_words(url: str) -> None:
    client = ComfyUIClient(address.read(url))
    picture = ComfyPicture("nothing.png", "", "temp").annotated
    graph = {
        "image": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "picture": {"class_type": "PreviewImage", "inputs": {"images": ["image", 0]}},
    }
    with pytest.raises(HostFailed, match=r"LoadImage: .*nothing"):
        client.submit(graph, "nobody", "none")
