"""Tests of the control maps that depend on what is seen in a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from easyphoto.config import Family
from easyphoto.hosts.embedded.annotators import as_map
from easyphoto.ports import Control, ControlRole, Image, Vision
from easyphoto.vision import registry

SIZE = (512, 512)


def dots(vision: Vision, image: Image, family: Family = Family.SD1) -> np.ndarray:  # type: ignore[type-arg]
    """(x, y) of what is white in the openpose map, shape (n, 2)."""
    drawn = as_map(Control(ControlRole.OPENPOSE, image), family, SIZE, vision)
    assert drawn.is_map
    rows, columns = np.nonzero(drawn.image[..., 0])
    return np.stack([columns, rows], 1)


@pytest.mark.thorough
@pytest.mark.parametrize("commercial_only", [False, True])
@pytest.mark.parametrize("family", [Family.SD1, Family.BENCH])
def test_a_detector_of_five_points_draws_the_same_face(
    commercial_only: bool, family: Family, astronaut: Image, tmp_path: Path
) -> None:
    expected = dots(registry.create(tmp_path), astronaut, family)
    vision = registry.create(tmp_path, backends={"detector": "dlib-5"}, commercial_only=commercial_only)
    assert vision.detector.detect(astronaut)[0].landmarks is None
    drawn = dots(vision, astronaut, family)
    assert len(drawn) > 0.8 * len(expected), "a black map holds no pose"
    face = np.ptp(expected, axis=0).max()
    near = np.linalg.norm(drawn[:, None] - expected[None], axis=2).min(1)
    assert near.mean() < 0.04 * face
    assert np.abs(drawn.mean(0) - expected.mean(0)).max() < 0.05 * face
