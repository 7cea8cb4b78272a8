"""The packaged vision, loaded once, and what it sees in the photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from easyphoto.ports import Face, Image, Vision
from easyphoto.vision import registry

# The first call of a native function may take a while on a busy machine: that says nothing of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def vision() -> Vision:
    """The backends that need no download."""
    return registry.create(Path("no-weights-here"))


@pytest.fixture(scope="session")
def collins(vision: Vision, astronaut: Image) -> Face:
    (face,) = vision.detector.detect(astronaut)
    return face


@pytest.fixture(scope="session")
def hopper(vision: Vision, grace_hopper: Image) -> Face:
    (face,) = vision.detector.detect(grace_hopper)
    return face


@pytest.fixture(scope="session")
def six_faces(vision: Vision, six_people: Image) -> list[Face]:
    return vision.detector.detect(six_people)
