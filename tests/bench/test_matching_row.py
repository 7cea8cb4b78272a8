"""The matching row on drawn people, each as green as nobody else: all are matched, and mistakes are counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matching_row
import numpy as np
import pytest
from matching_row import Known

from easyphoto import pictures
from tests.fakes import FakeVision, blank, draw_face


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Known]:
    folder = tmp_path_factory.mktemp("portraits")
    for number in range(5):
        pictures.save_png(folder / f"{number}.png", draw_face(blank(300, 300), (150, 150), 110, who=16 * number))
    return [
        found for number, path in enumerate(sorted(folder.glob("*.png"))) if (found := one(path, number)) is not None
    ]


def one(path: Path, number: int) -> Known | None:
    vision, picture = FakeVision(), pictures.load(path)
    (face,) = vision.detector.detect(picture)
    return matching_row.known(path.name, picture, face, vision, number)


def test_everybody_is_found_and_matched_and_a_wrong_one_is_seen(people: list[Known]) -> None:
    assert len(people) == 5
    group = matching_row.grouped(people[:3], np.random.default_rng(0))
    assert group.picture.shape[1] == group.edges[-1][1]
    told = matching_row.right(group, people[:3], people[::-1], FakeVision())
    assert told == [True, True, True]
    swapped = [replace(people[0], mean=people[1].mean), replace(people[1], mean=people[0].mean), people[2]]
    assert matching_row.right(group, swapped, swapped, FakeVision()) == [False, False, True]
    empty = replace(group, picture=np.full_like(group.picture, 128))
    assert matching_row.right(empty, people[:3], people[:3], FakeVision()) == [None, None, None]


def test_a_group_counts_as_right_when_nobody_has_the_face_of_another() -> None:
    row = matching_row.counted(2, 4, [[True, True], [True, False], [True, None], [True, True]])
    assert (row["right and whole"], row["right"], row["groups"]) == (2, 3, 4)
    assert (row["found"], row["given to their own"]) == (7, 6)
    low, high = matching_row.share_interval(60, 60)
    assert 0.93 < low < 0.95 and high == pytest.approx(1.0)
