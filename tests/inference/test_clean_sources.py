"""Which photo is fused in: of those that look about where the template does, the one with a clean outline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.inference import gallery
from easyphoto.inference.face_sources import FaceSource, FaceSources
from easyphoto.inference.gallery import Gallery, Shot
from easyphoto.vision.pose import Pose
from tests.fakes import FakeVision, blank, draw_face

AHEAD = Pose(0.0, 0.0, 0.0)


def sources(folder: Path, vision: FakeVision, *shots: Shot) -> FaceSources:
    """The reference is a clean, frontal face of grey 60; each shot is a file of its own."""
    image = draw_face(blank(300, 300), (150, 150), 100, who=60)
    (face,) = vision.detector.detect(image)
    found = FaceSources(FaceSource(image, face, AHEAD), Gallery("fake-embedder", shots), vision)
    for number, shot in enumerate(shots):
        pictures.save_png(shot.path, draw_face(blank(300, 300), (150, 150), 100, who=80 + 10 * number))
    return found


def shot(folder: Path, name: str, yaw: float, clutter: float = 0.0, *, glasses: bool = False) -> Shot:
    return Shot(folder / f"{name}.png", np.array([1.0, 0.0], np.float32), Pose(yaw, 0.0, 0.0), clutter, glasses)


def taken(found: FaceSources, yaw: float) -> str:
    """The name of the shot that serves a template whose head is turned so far; "" for the reference."""
    image = found.nearest(Pose(yaw, 0.0, 0.0)).image
    assert found.gallery is not None
    for one in found.gallery.shots:
        if np.array_equal(image, pictures.load(one.path)):
            return one.path.stem
    return ""


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clutter of the reference, which a drawn disc doesn't have: the test sets it."""
    clutter = [0.0]
    monkeypatch.setattr("easyphoto.vision.covering.clutter", lambda *_: clutter[0])
    monkeypatch.setattr("easyphoto.vision.eyewear.worn", lambda *_: False)
    return clutter


def test_a_clean_outline_is_preferred_among_heads_that_look_alike(tmp_path: Path, tidy: list[float]) -> None:
    shots = shot(tmp_path, "strands", 30, 0.4), shot(tmp_path, "clean", 24, 0.0), shot(tmp_path, "far", -30, 0.0)
    assert taken(sources(tmp_path, FakeVision(), *shots), 32) == "clean"
    level = shot(tmp_path, "strands", 30, 0.02), *shots[1:]
    assert taken(sources(tmp_path, FakeVision(), *level), 32) == "strands"


def test_an_untidy_reference_gives_way_only_to_heads_that_look_ahead_too(tmp_path: Path, tidy: list[float]) -> None:
    shots = shot(tmp_path, "turned", 20), shot(tmp_path, "clean", 4)
    assert taken(sources(tmp_path, FakeVision(), *shots), 0) == ""
    tidy[0] = 0.4
    assert taken(sources(tmp_path, FakeVision(), *shots), 0) == "clean"
    assert taken(sources(tmp_path, FakeVision(), shots[0]), 0) == "", "no outline is worth another pose"


def test_glasses_count_only_where_most_photos_show_none(tmp_path: Path, tidy: list[float]) -> None:
    worn = shot(tmp_path, "worn", 30, glasses=True)
    bare = shot(tmp_path, "bare", 22)
    assert taken(sources(tmp_path, FakeVision(), worn, bare, shot(tmp_path, "other", -30)), 30) == "bare"
    others = [shot(tmp_path, name, -30, glasses=True) for name in "ab"]
    assert taken(sources(tmp_path, FakeVision(), worn, bare, *others), 30) == "worn"


def test_what_a_photo_brings_is_kept_with_it(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.png", tmp_path / "embedding.json"
    pictures.save_png(path, draw_face(blank(300, 300), (150, 150), 100, who=60))
    first = gallery.remembered([path], memory, FakeVision())
    again = gallery.remembered([path], memory, FakeVision())
    assert (again.shots[0].clutter, again.shots[0].glasses) == (first.shots[0].clutter, first.shots[0].glasses)
