"""Tests of the sets of photos whose heads look where they are told to, and of how the coach's answers are counted."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from easyphoto.training import photos
from easyphoto.training.photo_coach import SAME_HASH, TURNED, HeadBin
from easyphoto.training.photos import PhotoOutcome, PhotoReport, PhotoVerdict, perceptual_hash

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.append(str(TOOLS))
sys.path.append(str(TOOLS / "bench"))
import captions  # noqa: E402
import coach_table  # noqa: E402
import head_sets  # noqa: E402
from warped_clips import SOURCE, Portraits  # noqa: E402

LEFT, FRONT, RIGHT = HeadBin.LEFT, HeadBin.FRONT, HeadBin.RIGHT


@pytest.fixture(scope="module")
def portrait() -> Portraits:
    """Smooth patches, and points of which only the extent and the eyes count."""
    small = np.random.default_rng(3).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture = cv2.resize(small, (SOURCE, SOURCE), interpolation=cv2.INTER_CUBIC)
    points = np.random.default_rng(4).uniform(150, 300, (68, 2)).astype(np.float32)
    points[36:42], points[42:48], points[27:36] = (190, 200), (260, 200), (225, 225)
    return Portraits(torch.from_numpy(picture).permute(2, 0, 1)[None], torch.from_numpy(points)[None], [0])


def test_the_photos_of_a_set_are_no_near_duplicates(portrait: Portraits) -> None:
    made = head_sets.one_way("somebody", portrait)
    assert made.missing == {LEFT, RIGHT} and [name for name, _ in made.photos] == [f"somebody-{i}" for i in range(5)]
    assert all(image.shape == (256, 256, 3) and image.dtype == np.uint8 for _, image in made.photos)
    small = [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) for _, image in made.photos]
    for a, b in combinations(map(perceptual_hash, small), 2):
        assert (a ^ b).bit_count() > SAME_HASH
    assert head_sets.one_way("somebody", portrait, LEFT).missing == {FRONT, RIGHT}


def test_one_head_is_turned_to_each_side(portrait: Portraits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(head_sets, "photos_of", lambda name, portrait, degrees: seen.append(degrees) or [])
    for name in ("a", "b", "c", "a"):
        assert not head_sets.every_way(name, portrait).missing
        head_sets.one_way(name, portrait)
    for degrees in seen[::2]:
        left, *ahead, right = sorted(degrees)
        assert -30 <= left <= -22 and 22 <= right <= 30 and ahead == [0, 0, 0] and min(-left, right) > TURNED
        assert degrees[0] == 0
    assert list(seen[0]) == list(seen[6]) != list(seen[2]), "by the name"
    assert all(not degrees.any() for degrees in seen[1::2])
    move = head_sets.movement(seen[0])
    assert move.turn[0].tolist() == pytest.approx(np.radians(seen[0]).tolist())
    left, top, side = move.window
    assert float((left + side).max()) <= SOURCE and float((top + side).max()) <= SOURCE, "inside the portrait"


def test_the_portraits_look_where_their_captions_say() -> None:
    said = captions.read()
    for where, names in head_sets.LOOKING.items():
        assert len(set(names)) == len(names) >= 6
        for name in names:
            assert said[f"{name}.jpg"].turn == where.value and said[f"{name}.jpg"].learn == "yes"


def test_a_portrait_without_a_face_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = head_sets.LOOKING[FRONT]
    monkeypatch.setattr(head_sets, "loaded", lambda path, vision: None if path.stem in names[1] else path)
    found = list(head_sets.looking(tmp_path, FRONT, None, 3))  # type: ignore[arg-type]
    assert found == [(names[0], tmp_path / f"{names[0]}.jpg"), (names[2], tmp_path / f"{names[2]}.jpg")]


def test_what_the_coach_asks_for_is_held_against_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {FRONT: ["one", "two", "three"], LEFT: ["four"], RIGHT: ["five"]}
    asked = {
        "one": {LEFT, RIGHT},
        "two": {LEFT, RIGHT},
        "three": {LEFT},
        "four": {FRONT, RIGHT},
        "five": {FRONT, RIGHT},
        "every one": set(),
        "every two": {RIGHT},
        "every three": set(),
    }
    sides = head_sets.SIDES
    monkeypatch.setattr(coach_table, "looking", lambda p, where, v, n: [(name, None) for name in made[where][:n]])
    monkeypatch.setattr(coach_table, "one_way", lambda n, p, w: head_sets.HeadSet([(n, None)], sides - {w}))
    monkeypatch.setattr(coach_table, "every_way", lambda n, p: head_sets.HeadSet([(f"every {n}", None)], frozenset()))
    monkeypatch.setattr(coach_table, "asked_for", lambda own, vision: frozenset(asked[own[0][0]]))
    told = list(coach_table.direction_rows(Path(), None, 24))  # type: ignore[arg-type]
    assert told[:2] == [
        "| all heads look ahead | 3 | 2 | 1 | 1 | 0.67 | 0.67 |",
        "| all heads look to one side | 2 | 1 | 1 | 1 | 0.50 | 0.50 |",
    ]
    assert told[2:5] == [
        "all heads look ahead: left is asked for in 3 of 3 sets that lack it and in 0 of 0 that have it",
        "all heads look ahead: front is asked for in 0 of 0 sets that lack it and in 0 of 3 that have it",
        "all heads look ahead: right is asked for in 2 of 3 sets that lack it and in 0 of 0 that have it",
    ]
    assert (
        told[7]
        == "all heads look to one side: right is asked for in 1 of 1 sets that lack it and in 1 of 1 that have it"
    )
    assert told[10].startswith("heads look every way: right is asked for in 0 of 0") and "1 of 3" in told[10]
    first = next(iter(coach_table.direction_rows(Path(), None, 1)))  # type: ignore[arg-type]
    assert first == "| all heads look ahead | 1 | 1 | 0 | 0 | 1.00 | 1.00 |"


@pytest.mark.parametrize(
    ("yaws", "asked"), [((0, 5, -9), {LEFT, RIGHT}), ((0, 20, -20), set()), ((30, 20, 40), {LEFT, FRONT})]
)
def test_the_directions_that_the_coach_asks_for(
    yaws: tuple[float, ...], asked: set[HeadBin], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [
        PhotoVerdict(f"{i}.jpg", str(i), PhotoOutcome.TAKEN, "", faces=1, sharpness=60.0, brightness=170.0,
                     yaw=float(yaw), pitch=0.0, fingerprint=int(np.random.default_rng(i).integers(0, 2**62)))
        for i, yaw in enumerate(yaws)
    ]  # fmt: skip
    monkeypatch.setattr(photos, "report", lambda own, vision: PhotoReport(tuple(taken), "judge"))
    vision: Any = type("Vision", (), {"calibration": None})
    vision.calibration = type("Calibration", (), {"same_mean": 0.8, "same_std": 0.1, "threshold": 0.5})
    assert coach_table.asked_for([("somebody", np.zeros((4, 4, 3), np.uint8))], vision) == asked
