"""Tests of the panel's numbers, each computed again by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from easyphoto.measures import likeness_panel as numbers
from easyphoto.measures.likeness_panel import LikenessPanel, PanelCounts, PanelRow, PanelWord
from easyphoto.ports import Calibration
from easyphoto.vision.backends import arcface

CALIBRATION = Calibration(0.7, 0.1, 0.2, 0.1, "made up", far_1=0.45, far_01=0.55)


def at(*degrees: float) -> np.ndarray:
    """Vectors in a plane, each at so many degrees."""
    turns = np.radians(degrees)
    return np.stack([np.cos(turns), np.sin(turns)], 1)


def test_a_likeness_is_the_mean_of_the_three_nearest_photos() -> None:
    portraits = np.array([[0.9, 0.1, 0.6, 0.3], [0.2, 0.2, 0.8, -0.5]])
    by_hand = ((0.9 + 0.6 + 0.3) / 3 + (0.8 + 0.2 + 0.2) / 3) / 2
    assert numbers.likeness_to(portraits, 0, CALIBRATION) == pytest.approx(by_hand)


def test_a_missing_face_counts_as_a_strangers() -> None:
    assert numbers.likeness_to(np.array([[0.8]]), 1, CALIBRATION) == pytest.approx((0.8 + 0.2) / 2)
    assert numbers.likeness_to(np.zeros((0, 3)), 2, CALIBRATION) == pytest.approx(0.2)
    assert numbers.likeness_to(np.zeros((0, 3)), 0, CALIBRATION) is None


def test_the_ceiling_leaves_each_photo_out_once() -> None:
    photos = np.array([[1.0, 0.6, 0.4], [0.6, 1.0, 0.2], [0.4, 0.2, 1.0]])
    assert numbers.ceiling(photos) == pytest.approx(((0.6 + 0.4) / 2 + (0.6 + 0.2) / 2 + (0.4 + 0.2) / 2) / 3)
    assert numbers.ceiling(np.array([[1.0]])) is None


def test_few_photos_are_compared_without_the_one_that_may_be_copied() -> None:
    rows = numbers.without_nearest(np.array([[0.9, 0.2, 0.5], [0.1, 0.3, 0.2]]))
    assert sorted(rows[0]) == [0.2, 0.5] and sorted(rows[1]) == [0.1, 0.2]
    assert numbers.without_nearest(np.array([[0.9]])).tolist() == [[0.9]]


@pytest.mark.parametrize(
    ("portrait", "index"), [(0.0, 1.0), (30.0, 0.0), (15.0, 0.5), (60.0, -1.0), (24.0, (36 - 24) / 60)]
)
def test_copying_is_the_difference_of_the_angles_over_the_angle_between(portrait: float, index: float) -> None:
    """The training photo lies at 0 degrees, and the photo that was held out at 60."""
    photos = at(0, 60)
    found = numbers.copying(at(portrait) @ photos.T, photos @ photos.T, training=1)
    assert found == pytest.approx(index, abs=1e-6)


def test_copying_looks_for_the_nearest_photo_of_either_kind() -> None:
    photos = at(0, 90, 40, 120)  # the first two were trained on
    found = numbers.copying(at(10) @ photos.T, photos @ photos.T, training=2)
    assert found == pytest.approx((30 - 10) / 40, abs=1e-6)


def test_without_held_out_photos_the_second_training_photo_stands_for_them() -> None:
    photos = at(0, 50, 170)
    assert numbers.copying(at(5) @ photos.T, photos @ photos.T, training=3) == pytest.approx((45 - 5) / 50, abs=1e-6)
    assert numbers.copying(at(5) @ photos[:1].T, np.ones((1, 1)), training=1) is None
    assert numbers.copying(np.zeros((0, 3)), photos @ photos.T, training=3) is None


def test_a_photo_dominates_if_more_than_half_of_the_portraits_lie_nearest_to_it() -> None:
    assert numbers.dominant(np.array([[0.1, 0.9], [0.2, 0.5], [0.7, 0.1]])) == 1
    assert numbers.dominant(np.array([[0.1, 0.9], [0.7, 0.1]])) is None
    assert numbers.dominant(np.array([[0.1, 0.9]])) is None
    assert numbers.dominant(np.array([[0.9], [0.9]])) is None


def test_diversity_is_the_mean_angle_between_portraits() -> None:
    portraits = at(0, 10, 40)
    by_hand = math.radians((10 + 40 + 30) / 3)
    assert numbers.diversity(portraits @ portraits.T) == pytest.approx(by_hand)
    assert numbers.diversity(np.ones((1, 1))) is None


def row(value: float | None, floor: float | None = 0.2, ceiling: float | None = 0.7, name: str = "judge") -> PanelRow:
    return PanelRow(name, value, floor, ceiling, threshold=0.45)


def panel(judge: PanelRow, reporter: PanelRow | None, copying: float | None = 0.0, photo: str = "") -> LikenessPanel:
    return LikenessPanel(judge, reporter, copying, photo, ("held.jpg",), PanelCounts(4, 1, 0), 31.23456, 0.4)


@pytest.mark.parametrize(
    ("judge", "reporter", "copying", "photo", "word"),
    [
        (0.6, 0.5, 0.1, "", PanelWord.PERSON),
        (0.6, 0.4, 0.1, "", PanelWord.RELATIVE),
        (0.6, 0.22, 0.1, "", PanelWord.TEMPLATE),
        (0.22, 0.6, 0.1, "", PanelWord.TEMPLATE),
        (0.6, 0.6, 0.6, "3.jpg", PanelWord.COPY),
        (0.6, 0.6, 0.6, "", PanelWord.PERSON),
        (0.6, None, None, "", PanelWord.RELATIVE),
    ],
)
def test_where_the_embedders_differ_the_less_flattering_word_counts(
    judge: float, reporter: float | None, copying: float | None, photo: str, word: PanelWord
) -> None:
    other = row(reporter if reporter is not None else 0.3, name="reporter")
    assert panel(row(judge), other, copying, photo).word is word


@pytest.mark.parametrize(
    ("value", "copying", "word"),
    [
        (0.45, 0.0, PanelWord.PERSON),
        (0.4499, 0.0, PanelWord.RELATIVE),
        (0.2501, 0.0, PanelWord.RELATIVE),
        (0.2499, 0.0, PanelWord.TEMPLATE),
        (0.1, 0.0, PanelWord.TEMPLATE),
        (0.69, 0.5, PanelWord.COPY),
        (0.69, 0.4999, PanelWord.PERSON),
    ],
)
def test_each_word_begins_at_its_threshold(value: float, copying: float, word: PanelWord) -> None:
    assert panel(row(value), row(value), copying, "3.jpg").word is word


def test_nothing_is_proven_by_an_embedder_that_nobody_measured() -> None:
    unmeasured = replace(row(0.5), measured=False)
    assert panel(row(0.69), row(0.5)).proven
    assert not panel(row(0.69), unmeasured).proven and not panel(unmeasured, row(0.69)).proven
    assert unmeasured.to_mapping()["measured"] is False and "measured" not in row(0.5).to_mapping()
    assert arcface.ARCFACE.measured is False and arcface.AURAFACE.measured is False


def test_without_a_reporter_no_gain_is_proven() -> None:
    assert not panel(row(0.69), None).proven
    assert panel(row(0.69), row(0.5)).proven
    assert not panel(row(0.69), row(0.21)).proven
    assert not panel(row(0.69), row(0.5, floor=None)).proven


def test_the_panel_is_told_with_the_names_that_files_have() -> None:
    told = panel(row(0.6123456), None, None).to_mapping()
    assert told["judge"] == {
        "embedder": "judge", "value": 0.6123, "floor": 0.2, "ceiling": 0.7, "threshold": 0.45,
    }  # fmt: skip
    assert told["reporter"] is None and told["copying"] is None and told["dominant_photo"] == ""
    assert told["held_out"] == ["held.jpg"]
    assert (told["pictures"], told["missing"], told["not_applicable"]) == (4, 1, 0)
    assert told["word"] == "looks like the person" and told["proven"] is False
