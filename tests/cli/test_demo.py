"""Tests of the photos of the demo: six different photos of one person, made in the same way every time."""

from __future__ import annotations

import numpy as np

from easyphoto.cli.contact_sheet import Cell, Row, draw
from easyphoto.cli.demo import photos
from easyphoto.ports import Image


def test_photos_differ_and_can_be_made_again(astronaut: Image) -> None:
    taken = photos(astronaut)
    assert len(taken) == 6 and all(p.shape == astronaut.shape for p in taken)
    assert all(np.array_equal(a, b) for a, b in zip(taken, photos(astronaut), strict=True))
    for i, a in enumerate(taken):
        for b in taken[:i]:
            assert np.abs(a.astype(int) - b).mean() > 3


def test_no_turn_brings_a_black_corner() -> None:
    white = np.full((256, 256, 3), 255, np.uint8)
    assert min(int(p.min()) for p in photos(white)) > 200


def test_a_sheet_holds_every_picture_of_a_row(astronaut: Image) -> None:
    red = np.full((50, 100, 3), (255, 0, 0), np.uint8)
    sheet = draw([Row("one", [Cell(red, "a"), Cell(red, "b")]), Row("two", [Cell(astronaut, "c")])], width=600)
    assert sheet.shape[1] == 600
    assert ((sheet == (255, 0, 0)).all(axis=2)).sum() > 2 * 50 * 100
