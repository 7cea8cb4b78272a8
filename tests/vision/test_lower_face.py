"""Tests of what covers a face: two photographs, and the same ones with things drawn over them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from easyphoto.ports import Image, Vision
from easyphoto.training.photo_coach import COVERED
from easyphoto.vision import landmarks, largest, lower_face, registry

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from coverings import COVERINGS


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Vision:
    return registry.create(tmp_path_factory.mktemp("no-weights"))


@pytest.mark.thorough
def test_a_mask_a_hand_and_a_phone_are_seen_and_bare_faces_are_not(
    astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    for image in (astronaut, grace_hopper):
        face = largest(vision.detector.detect(image))
        assert face is not None
        points = landmarks.of(vision, image, face)
        dark = (image * 0.5).astype(np.uint8)
        blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), face.width / 60), np.uint8)
        for bare in (image, dark, blurred, np.ascontiguousarray(image[..., :1].repeat(3, 2))):
            assert lower_face.hidden(bare, face) < COVERED
        for name, draw in COVERINGS.items():
            seen = [lower_face.hidden(draw(image, points, np.random.default_rng(seed)), face) for seed in range(4)]
            assert np.median(seen) > COVERED, name
