"""Tests of the detector that looks at each picture once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from easyphoto.ports import Face, Image
from easyphoto.vision import detect_near, registry
from easyphoto.vision.recall import KEPT, RecallingDetector
from tests.fakes import FakeDetector, blank, draw_face


class Counting(FakeDetector):
    """Counts how often it looks."""

    looks = 0

    def detect(self, image: Image) -> list[Face]:
        self.looks += 1
        return super().detect(image)


class Near(Counting):
    """Knows a face near which it looks, and answers with its score."""

    def detect_near(self, image: Image, expected: Face) -> list[Face]:
        self.looks += 1
        return [expected]


def picture(who: int = 20) -> Image:
    return draw_face(blank(120, 100), (60, 50), 40, who)


def test_equal_pixels_are_looked_at_once() -> None:
    inner = Counting()
    detector = RecallingDetector(inner)
    first = detector.detect(picture())
    again = detector.detect(picture().copy())
    assert inner.looks == 1 and len(first) == 1
    assert again[0] is first[0] and again is not first, "whoever sorts the list changes nobody else's"
    first.clear()
    assert len(detector.detect(picture())) == 1


def test_other_pixels_and_other_shapes_are_looked_at_again() -> None:
    inner = Counting()
    detector = RecallingDetector(inner)
    one = picture()
    other = one.copy()
    other[0, 0, 0] ^= 1
    detector.detect(one)
    detector.detect(other)
    detector.detect(one.reshape(120, 100, 3))
    detector.detect(one[:, ::-1])
    assert inner.looks == 4


def test_a_place_is_part_of_the_question() -> None:
    inner = Near()
    detector = RecallingDetector(inner)
    here, there = FakeDetector().detect(picture()), FakeDetector().detect(draw_face(blank(120, 100), (30, 30), 20))
    assert detect_near(detector, picture(), here[0]) == here
    assert detect_near(detector, picture(), there[0]) == there
    assert detect_near(detector, picture(), here[0]) == here
    assert inner.looks == 2


def test_a_detector_without_a_way_of_its_own_shares_what_it_found() -> None:
    inner = Counting()
    detector = RecallingDetector(inner)
    found = detector.detect(picture())
    assert detect_near(detector, picture(), found[0]) == found and inner.looks == 1
    assert detector.faces == 0, "the rest is the detector's own"


def test_nobody_changes_what_others_get() -> None:
    face = RecallingDetector(FakeDetector()).detect(picture())[0]
    with pytest.raises(ValueError, match="read-only"):
        face.points += 1


def test_the_picture_that_came_longest_ago_goes() -> None:
    inner = Counting()
    detector = RecallingDetector(inner)
    for index in range(KEPT + 1):
        detector.detect(np.full((8, 8, 3), index, np.uint8))
    detector.detect(np.full((8, 8, 3), KEPT, np.uint8))
    assert inner.looks == KEPT + 1
    detector.detect(np.full((8, 8, 3), 0, np.uint8))
    assert inner.looks == KEPT + 2


def test_many_threads_may_ask() -> None:
    detector = RecallingDetector(FakeDetector())
    wrong: list[int] = []

    def ask(who: int) -> None:
        image = draw_face(blank(120, 100), (20 + who, 50), 30)
        for _ in range(20):
            if [f.box for f in detector.detect(image)] != [f.box for f in FakeDetector().detect(image)]:
                wrong.append(who)

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.thorough
def test_the_registry_gives_one(tmp_path: Path, astronaut: Image) -> None:
    vision = registry.create(tmp_path)
    first, again = vision.detector.detect(astronaut), vision.detector.detect(astronaut)
    assert first and all(a is b for a, b in zip(first, again, strict=True))
    vision.release()
    fresh = vision.detector.detect(astronaut)
    assert fresh[0] is not first[0] and fresh[0].box == first[0].box
