"""Tests of the exported checkpoint, loaded as anybody would load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from benchkit import CONTROL_KINDS, MODEL_DIR, Faces, control_image
from PIL import Image as Pil

pytestmark = pytest.mark.skipif(not (MODEL_DIR / "model_index.json").is_file(), reason="no bench checkpoint here")


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    from skimage import data

    return cv2.resize(data.astronaut()[10:220, 115:325], (256, 256), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def pipe() -> Any:
    from diffusers import StableDiffusionImg2ImgPipeline

    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(MODEL_DIR, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_keeps_to_its_size() -> None:
    files = [path for path in MODEL_DIR.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files if path.parent.name != "adapter"]  # that has a limit of its own
    assert sum(sizes) < 90_000_000
    assert max(sizes) < 45_000_000


def test_weights_are_half_precision_and_finite() -> None:
    from safetensors import safe_open

    files = sorted(MODEL_DIR.rglob("*.safetensors"))
    assert len(files) == 3 + len(CONTROL_KINDS) + 1, "its parts and the adapter"
    for path in files:
        with safe_open(path, "pt") as source:
            for name in source.keys():  # noqa: SIM118 - not a mapping
                tensor = source.get_tensor(name)
                if tensor.dtype.is_floating_point:
                    assert tensor.dtype == torch.float16, (path, name)
                    assert torch.isfinite(tensor).all(), (path, name)


def test_its_parts_are_those_of_stable_diffusion(pipe: Any) -> None:
    assert pipe.unet.config.in_channels == pipe.vae.config.latent_channels == 4
    assert pipe.vae_scale_factor == 8
    assert pipe.scheduler.config.prediction_type == "epsilon"
    assert pipe.tokenizer.model_max_length == 77
    assert len(pipe.tokenizer) == pipe.text_encoder.config.vocab_size
    for word in ("portrait", "woman", "easyphoto", "smiling"):
        assert len(pipe.tokenizer(word)["input_ids"]) == 3


@pytest.mark.thorough
def test_a_face_survives_img2img(pipe: Any, face: np.ndarray) -> None:
    output = pipe(
        "portrait photo of a woman",
        image=Pil.fromarray(face),
        strength=0.45,
        num_inference_steps=12,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    )
    picture = (output.images[0] * 255).round().astype(np.uint8)
    assert picture.shape == (256, 256, 3)
    assert Faces().find(picture) is not None


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_picture(pipe: Any, face: np.ndarray) -> None:
    def make(seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        image = Pil.fromarray(face)
        output = pipe("a man", image=image, strength=0.3, num_inference_steps=4, generator=generator, output_type="np")
        return np.asarray(output.images[0])

    assert np.array_equal(make(3), make(3))
    assert not np.array_equal(make(3), make(4))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_every_control_loads_and_takes_its_picture(kind: str, pipe: Any, face: np.ndarray) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline

    control = ControlNetModel.from_pretrained(Path(MODEL_DIR) / "controlnet" / kind, local_files_only=True)
    guided = StableDiffusionControlNetImg2ImgPipeline(
        **pipe.components, controlnet=control, requires_safety_checker=False
    )
    guided.set_progress_bar_config(disable=True)
    found = Faces().find(face)
    assert found is not None
    condition = control_image(kind, face, found[1])
    output = guided(
        "portrait photo of a woman",
        image=Pil.fromarray(face),
        control_image=Pil.fromarray(condition),
        strength=0.4,
        num_inference_steps=5,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    )
    assert np.isfinite(output.images).all()
