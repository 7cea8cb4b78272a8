"""Tests of giving the outline of one face to another."""

from __future__ import annotations

import numpy as np
import pytest

from easyphoto.ports import Face, Image, Points, Vision
from easyphoto.vision import geometry, landmarks, outline

INNER = slice(17, 68)


def gap(own: Points, given: Points) -> float:
    """How far, in widths of the face, the jaw from cheek to cheek lies from where the other's would."""
    laid = geometry.transform(geometry.similarity(given[INNER], own[INNER]), given)
    return float(np.hypot(*(laid[4:13] - own[4:13]).T).mean() / np.hypot(*(own[16] - own[0])))


@pytest.mark.parametrize("share", [0.88, 1.1])
def test_the_jaw_moves_to_the_other_s(share: float, vision: Vision, astronaut: Image, collins: Face) -> None:
    assert collins.landmarks is not None
    own = collins.landmarks
    given = own.copy()
    middle = own[INNER].mean(0)
    given[3:14] = middle + (own[3:14] - middle) * share
    shaped, where = outline.match(astronaut, own, given)
    (face,) = vision.detector.detect(shaped)
    assert face.landmarks is not None
    assert gap(face.landmarks, given) < 0.65 * gap(own, given)
    assert np.abs(face.landmarks[INNER] - own[INNER]).mean() < 0.02 * collins.width
    assert (shaped[where == 0] == astronaut[where == 0]).all()
    assert where.mean() < 0.5


def test_a_face_of_the_same_outline_stays_as_it_is(astronaut: Image, collins: Face) -> None:
    assert collins.landmarks is not None
    moved = geometry.transform(np.array([[0.8, 0.1, 3.0], [-0.1, 0.8, 5.0]]), collins.landmarks)
    shaped, where = outline.match(astronaut, collins.landmarks, moved)
    assert shaped is astronaut
    assert not where.any()


def test_no_point_moves_further_than_would_show(collins: Face) -> None:
    assert collins.landmarks is not None
    given = collins.landmarks.copy()
    given[landmarks.JAW] *= 1.8
    moved = outline.wanted_jaw(collins.landmarks, given) - collins.landmarks[landmarks.JAW]
    width = float(np.hypot(*(collins.landmarks[16] - collins.landmarks[0])))
    assert np.hypot(*moved.T).max() <= outline.FURTHEST * width + 1e-3
    assert not moved[[0, 16]].any(), "the temples stay"
