"""Tests of heads that look aside: which photo of a person is fused in, when none is, and what the likeness then
says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.config import Family
from easyphoto.events import Event, Notice, TemplateFailed
from easyphoto.inference import gallery
from easyphoto.inference.face_sources import agree, apart
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import Subject
from easyphoto.ports import Calibration, Face, Image, Img2Img, Points, Portrait, Vision
from easyphoto.vision import pose
from easyphoto.vision.pose import Pose
from tests.fakes import (
    FakeDetector,
    FakeEmbedder,
    FakeFuser,
    FakeHost,
    FakeLandmarks,
    FakeParser,
    FakeVision,
    blank,
    draw_face,
    face_in,
    identity,
)
from tests.inference import studio
from tests.inference.studio import SIZE, config, task

FRONT = 200
"""The red of a disc that looks ahead; one level less is one degree further to the right."""


def turned(image: Image, center: tuple[float, float], width: float, who: int, yaw: int) -> Image:
    """A disc whose red says where it looks."""
    drawn = draw_face(image, center, width, who=who)
    drawn[(drawn != image).any(axis=2), 0] = FRONT - yaw
    return drawn


def person(folder: Path) -> Subject:
    """Anna, who looks ahead in both of her pictures."""
    ahead = turned(blank(300, 300), (150, 150), 100, 60, 0)
    return dataclasses.replace(studio.person(folder), reference=ahead, face_id=ahead)


class TurnedDetector(FakeDetector):
    """Moves the points of a disc to where they are in a head that is turned as its red says."""

    def detect(self, image: Image) -> list[Face]:
        return [self._turned(image, face) for face in super().detect(image)]

    def _turned(self, image: Image, face: Face) -> Face:
        assert face.landmarks is not None
        x, y = (round(v) for v in face.center)
        yaw = FRONT - float(np.median(image[y - 2 : y + 3, x - 2 : x + 3, 0]))
        rotation, _ = cv2.Rodrigues(np.array([0.0, -np.radians(yaw), 0.0]))
        head = (pose._HEAD @ rotation.T)[:, :2] * face.width / 150
        landmarks = face.landmarks.copy()
        landmarks[pose._OF_68] = head + face.center
        return dataclasses.replace(face, landmarks=landmarks)


class Watched(FakeFuser):
    """Remembers what was fused from."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[Image] = []

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        self.sources.append(source)
        return super().fuse(target, target_face, source, source_face)


class TurnedLandmarks(FakeLandmarks):
    def locate(self, image: Image, face: Face) -> Points:
        found = TurnedDetector()._turned(image, face_in(face.box)).landmarks
        assert found is not None
        return found


class Heads(FakeVision):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.detector = TurnedDetector()
        self.landmarks = TurnedLandmarks()
        self.fuser = Watched()


def sources(vision: Heads) -> list[Image]:
    assert isinstance(vision.fuser, Watched)
    return vision.fuser.sources


def template(yaw: int) -> Image:
    return turned(blank(*SIZE), (200, 190), 90, 10, yaw)


def portrait(subject: Subject, yaw: int, vision: Heads, **more: Any) -> tuple[Portrait, str]:
    events: list[Event] = []
    chosen = config(color_shift_middle=False, color_shift_last=False, super_resolution=False, **more)
    host = FakeHost(paint=identity)
    (made,) = portray(task((template(yaw),), subject, config=chosen), host, vision, events.append)
    return made, " ".join(e.message for e in events if isinstance(e, Notice))


def album(folder: Path, **photos: tuple[int, int]) -> list[Path]:
    """Photos by name of (who, yaw)."""
    paths = []
    for name, (who, yaw) in photos.items():
        paths.append(folder / f"{name}.png")
        pictures.save_png(paths[-1], turned(blank(300, 300), (150, 150), 100, who, yaw))
    return paths


@pytest.mark.parametrize("yaw", [-50, -20, 0, 35, 60])
def test_the_fake_heads_look_where_their_red_says(yaw: int) -> None:
    (face,) = TurnedDetector().detect(template(yaw))
    assert pose.pose(face).yaw == pytest.approx(yaw, abs=6)


def test_a_frontal_face_is_not_bent_onto_a_turned_head(tmp_path: Path) -> None:
    vision = Heads()
    made, said = portrait(person(tmp_path), 50, vision)
    assert not sources(vision)
    assert "The face of anna was not fused in" in said
    assert abs(int(made.stages["fusion"][190, 200, 1]) - 10) < 4, "nobody else's"
    made, said = portrait(person(tmp_path), 12, vision)
    assert len(sources(vision)) == 2
    assert said == ""


def test_a_fuser_that_makes_its_own_pose_is_not_held_back(tmp_path: Path) -> None:
    vision = Heads()
    vision.fuser.bends = False
    _, said = portrait(person(tmp_path), 50, vision)
    assert len(sources(vision)) == 2
    assert said == ""


def test_the_photo_whose_head_is_nearest_is_taken_and_is_no_witness_of_itself(tmp_path: Path) -> None:
    vision = Heads()
    photos = album(tmp_path, front=(60, 0), left=(50, -40), right=(30, 42), gone=(60, 50))
    shown = gallery.measure(photos, vision)
    photos[-1].unlink()
    made, said = portrait(dataclasses.replace(person(tmp_path), gallery=shown), 50, vision)
    right = pictures.load(photos[2])
    assert [bool(np.array_equal(source, right)) for source in sources(vision)] == [True, True]
    assert said == ""
    (face,) = vision.detector.detect(made.image)
    vector = vision.embedder.embed(made.image, face)
    assert made.likeness[0] is not None
    others = [shot.embedding for shot in shown.shots if shot.path != photos[2]]
    assert made.likeness[0].cosine == pytest.approx(np.mean([float(vector @ other) for other in others]), abs=0.02)
    front, _ = portrait(dataclasses.replace(person(tmp_path), gallery=shown), 3, vision)
    assert np.array_equal(sources(vision)[-1], person(tmp_path).reference)
    assert front.likeness[0] is not None


def test_a_face_that_came_out_frontal_on_a_turned_head_is_said(tmp_path: Path) -> None:
    def ahead(job: Any) -> Image:
        picture = identity(job)
        red = picture[..., 0]
        red[(picture[..., 2] > 200) & (picture[..., 1] < 100)] = FRONT
        return picture

    events: list[Event] = []
    chosen = config(color_shift_middle=False, color_shift_last=False, super_resolution=False)
    job = task((template(55),), person(tmp_path), config=chosen)
    assert list(portray(job, FakeHost(paint=ahead), Heads(), events.append))
    said = " ".join(e.message for e in events if isinstance(e, Notice))
    assert "away from where the template's head does" in said


def test_heads_agree_up_to_a_measured_turn() -> None:
    assert agree(Pose(10, 5, 0), Pose(-10, 10, 40))
    assert not agree(Pose(20, 0, 0), Pose(-20, 0, 0))
    assert not agree(Pose(0, 30, 0), Pose(0, -10, 0))
    assert apart(Pose(30, 0, 0), Pose(0, 0, 0)) == pytest.approx(30)


# --- one embedder's vectors ------------------------------------------------------------------------------------------


class Another(FakeEmbedder):
    """Turns all vectors by a quarter: compared with those of the first, everybody is a stranger."""

    def __init__(self) -> None:
        super().__init__("another", Calibration(0.9, 0.01, 0.2, 0.1, "made up"))

    def embed(self, image: Image, face: Face) -> Any:
        x, y = super().embed(image, face)
        return np.array([-y, x], np.float32)


def test_what_is_kept_of_photos_is_the_embedders_that_saw_them(tmp_path: Path) -> None:
    memory, photos = tmp_path / "embedding.json", album(tmp_path, a=(60, 0), b=(50, 20))
    vision = Heads()
    # The new weights lie there, and the old model still serves.
    vision.backends = lambda: {"embedder": "another"}  # type: ignore[method-assign]
    first = gallery.remembered(photos, memory, vision)
    assert first.embedder == "fake-embedder"
    assert [round(shot.pose.yaw, -1) for shot in first.shots] == [0, 20]
    vision.detector = None  # type: ignore[assignment]
    again = gallery.remembered(photos, memory, vision)
    assert [list(shot.embedding) for shot in again.shots] == [list(shot.embedding) for shot in first.shots]
    assert again.shots[1].pose == first.shots[1].pose
    later = Heads()
    later.embedder = Another()
    anew = gallery.remembered(photos, memory, later)
    assert anew.embedder == "another"
    assert abs(float(anew.shots[0].embedding @ first.shots[0].embedding)) < 0.01


def test_an_embedder_that_changes_under_a_portrait_measures_the_photos_again(tmp_path: Path) -> None:
    old, vision = Heads(), Heads()
    photos = album(tmp_path, a=(60, 0), b=(50, 10))
    subject = dataclasses.replace(person(tmp_path), gallery=gallery.measure(photos, old))
    subject = dataclasses.replace(subject, mean=subject.gallery.mean if subject.gallery else None)
    vision.embedder = Another()
    made, _ = portrait(subject, 0, vision)
    assert made.likeness[0] is not None
    assert made.likeness[0].embedder == "another"
    assert made.likeness[0].cosine > 0.9


def test_an_embedder_that_changes_while_a_portrait_is_made_gives_no_number(tmp_path: Path) -> None:
    class Single(Heads):
        def preferring(self, backends: Mapping[str, str]) -> Heads:
            return self

    vision = Single()
    shown = gallery.measure(album(tmp_path, a=(60, 0), b=(50, 10)), vision)

    def meanwhile(job: Any) -> Image:
        vision.embedder = Another()
        return identity(job)

    events: list[Event] = []
    job = task((template(0),), dataclasses.replace(person(tmp_path), gallery=shown))
    (made,) = portray(job, FakeHost(paint=meanwhile), vision, events.append)
    assert made.likeness == (None,)
    said = " ".join(e.message for e in events if isinstance(e, Notice))
    assert "Likeness was measured with fake-embedder and another serves now" in said


@pytest.fixture
def profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The points of heads that are turned by more than 45 degrees are guesses."""

    def guessing(vision: Vision, image: Image, face: Face) -> Pose:
        seen = pose.pose(face)
        return dataclasses.replace(seen, yaw=pose.PROFILE) if abs(seen.yaw) > 45 else seen

    monkeypatch.setattr("easyphoto.inference.studio.pose_in", guessing)


def made_on(
    picture: Image, folder: Path, vision: Heads, people: int = 1, **more: Any
) -> tuple[list[Portrait], list[Event], FakeHost]:
    events: list[Event] = []
    host = FakeHost()
    chosen = more.pop("config", config(super_resolution=False))
    job = task((picture,), *[person(folder)] * people, config=chosen, **more)
    return list(portray(job, host, vision, events.append)), events, host


@pytest.mark.usefixtures("profiles")
def test_the_demo_model_paints_no_head_that_is_seen_from_the_side(tmp_path: Path) -> None:
    made, events, host = made_on(template(60), tmp_path, Heads())
    (failed,) = [e for e in events if isinstance(e, TemplateFailed)]
    assert not made and not host.jobs
    assert "shows a head from the side, which the bench model can't paint" in failed.message


@pytest.mark.usefixtures("profiles")
def test_of_several_heads_only_those_from_the_side_stay_as_they_are(tmp_path: Path) -> None:
    both = turned(turned(blank(500, 300), (120, 150), 90, 10, 60), (380, 150), 90, 20, 0)
    (portrait,), events, _ = made_on(both, tmp_path, Heads(), people=2)
    said = " ".join(e.message for e in events if isinstance(e, Notice))
    assert "1 face(s) of" in said and "seen from the side" in said
    assert [found is not None for found in portrait.likeness] == [False, True]
    assert (portrait.image[100:200, 70:170] == both[100:200, 70:170]).all()
    assert (portrait.image[150, 380] != both[150, 380]).any()


@pytest.mark.usefixtures("profiles")
def test_a_network_that_swaps_faces_alone_may_do_so_from_the_side(tmp_path: Path) -> None:
    vision = Heads()
    vision.fuser.bends = False
    wanted = config(super_resolution=False, fusion_only=True)
    made, _, host = made_on(template(60), tmp_path, vision, config=wanted)
    assert len(made) == 1 and not host.jobs and sources(vision)


@pytest.mark.usefixtures("profiles")
def test_of_a_head_from_the_side_only_what_lies_between_the_features_is_repainted(tmp_path: Path) -> None:
    def masked(parser: str) -> float:
        vision = Heads()
        vision.parser = FakeParser(parser)
        (_,), _, host = made_on(template(60), tmp_path, vision, family=Family.SD1)
        job = host.jobs[0]
        assert isinstance(job, Img2Img) and job.mask is not None
        return float(job.mask.mean())

    assert 0 < masked("landmarks") < 0.8 * masked("a network that sees the face")
