"""The adapter that ships with the bench checkpoint: what it makes of somebody whom nobody trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from easyphoto import pictures
from easyphoto.cli import standalone
from easyphoto.config import Paths, PortraitConfig
from easyphoto.hosts.embedded.library import SHIPPED_ADAPTER
from easyphoto.ports import Image
from easyphoto.service import PortraitRequest
from easyphoto.vision import largest, registry
from tests.conftest import packaged

ADAPTER = Paths.standalone().bench / "adapter" / SHIPPED_ADAPTER
LARGEST = 4_000_000
"""The size in bytes below which it is to stay."""


def test_the_file_is_small_and_says_whose_vectors_it_knows() -> None:
    assert ADAPTER.stat().st_size < LARGEST
    with safe_open(ADAPTER, "np") as file:
        assert {"embedder": "dlib-resnet", "family": "bench"}.items() <= file.metadata().items()
    assert all(np.isfinite(weights).all() for weights in load_file(ADAPTER).values())


@pytest.mark.thorough
def test_it_shows_a_person_without_a_training_and_without_face_fusion(tmp_path: Path, astronaut: Image) -> None:
    place = replace(Paths.standalone(), outputs=tmp_path / "outputs", loras=tmp_path / "loras")
    service, vision = standalone.build(place), registry.create(tmp_path / "no-weights")
    photo, template = tmp_path / "photo.png", packaged("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")
    pictures.save_png(photo, astronaut)
    service.add_person("eileen", (photo,))
    embedder = vision.embedder

    def vector(image: Image) -> np.ndarray:
        face = largest(vision.detector.detect(image))
        assert face is not None
        return embedder.embed(image, face)

    def likeness(**changes: float) -> float:
        plain = PortraitConfig(
            seed=3, first_diffusion_steps=12, apply_face_fusion_before=False, apply_face_fusion_after=False
        )
        request = PortraitRequest(("eileen",), (template,), replace(plain, **changes))
        (portrait,) = service.generate(request).wait(120).portraits
        return float(vector(portrait.image) @ vector(astronaut))

    assert likeness() > likeness(ipa_only_weight=0.0) + 0.15
