"""What a portrait costs beside the diffusion: how often faces are looked for, and what is pasted that nobody sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from easyphoto.config import Family
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask
from easyphoto.ports import Face, FaceParts, Image, Portrait
from tests.fakes import FakeDetector, FakeHost, FakeParser, FakeVision
from tests.inference.studio import config, person, task, template


class CountingDetector(FakeDetector):
    """Notes every picture in which faces are looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Image] = []

    def detect(self, image: Image) -> list[Face]:
        self.seen.append(image.copy())
        return super().detect(image)


class CountingParser(FakeParser):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def parse(self, image: Image, face: Face) -> FaceParts:
        self.calls += 1
        return super().parse(image, face)


def looked(job: PortraitTask) -> tuple[list[Portrait], list[Image], int]:
    """The portraits, the pictures in which faces were looked for, and how many faces were parsed."""
    vision, detector, parser = FakeVision(), CountingDetector(), CountingParser()
    vision.detector, vision.parser = detector, parser
    return list(portray(job, FakeHost(), vision)), detector.seen, parser.calls


def test_a_portrait_looks_for_its_face_in_each_picture_once(tmp_path: Path) -> None:
    _, seen, parsed = looked(task((template(10),), person(tmp_path)))
    # Two pictures of the person, the template, its crop, three pictures of the first pass (fused, blended, painted),
    # four of the second (the first one's colours, and the same three), and the portrait for its likeness.
    assert len(seen) == 12
    assert parsed == 8
    assert all(not _same(a, b) for i, a in enumerate(seen) for b in seen[i + 1 :]), "one picture was looked at twice"


def test_the_next_portrait_on_a_template_knows_the_template_and_the_person(tmp_path: Path) -> None:
    _, seen, parsed = looked(task((template(10),), person(tmp_path), config=config(batch_size=3)))
    assert len(seen) == 12 + 8 + 8
    assert parsed == 8 + 7 + 7


def test_stages_are_kept_where_they_are_asked_for_and_the_portrait_is_the_same(tmp_path: Path) -> None:
    one = template(10, 20), person(tmp_path, "anna"), person(tmp_path, "bert", 40)
    (with_stages,), _, _ = looked(task(one[:1], *one[1:], family=Family.SD1))
    (without,), _, _ = looked(task(one[:1], *one[1:], family=Family.SD1, keep_stages=False))
    assert set(with_stages.stages) == {"template", "fusion", "first", "second", "final"}
    assert without.stages == {}
    assert (without.image == with_stages.image).all()
    assert [found and found.cosine for found in without.likeness] == [
        found and found.cosine for found in with_stages.likeness
    ]


def _same(a: Image, b: Image) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))
