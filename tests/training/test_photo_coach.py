"""Tests of the photo coach, on reports whose photos are written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from easyphoto.ports import Calibration, Embedding, Face
from easyphoto.training.photo_coach import CoachState, CoachTopic, HeadBin, coach, coverage, looks
from easyphoto.training.photos import PhotoOutcome, PhotoReport, PhotoVerdict, perceptual_hash

CALIBRATION = Calibration(0.8, 0.08, 0.0, 0.2, "made up", far_1=0.45)
DIRECTIONS = ((0, 0), (25, 0), (-25, 0), (5, 20), (-30, -5), (3, 2))


def like(person: int, photo: int, near: float = 0.9) -> Embedding:
    """A vector of a person's photo: two photos of one person have the cosine ``near`` squared."""
    vector = np.zeros(64, np.float32)
    vector[person], vector[10 + photo] = near, np.sqrt(1 - near**2)
    return vector


def photo(number: int, person: int = 0, **more: object) -> PhotoVerdict:
    yaw, pitch = DIRECTIONS[number % len(DIRECTIONS)]
    values = {
        "faces": 1,
        "sharpness": 60.0 + number,
        "brightness": 170.0,
        "yaw": float(yaw),
        "pitch": float(pitch),
        "embedding": like(person, number),
        "fingerprint": int(np.random.default_rng(number).integers(0, 2**62)),
    } | more
    return PhotoVerdict(f"{number}.jpg", str(number), values.pop("verdict", PhotoOutcome.TAKEN), "", **values)  # type: ignore[arg-type]


def report(*photos: PhotoVerdict) -> PhotoReport:
    return PhotoReport(photos, "judge")


def said(made: PhotoReport) -> dict[CoachTopic, tuple[str, ...]]:
    return {one.topic: one.photos for one in coach(made, CALIBRATION).suggestions}


def test_good_photos_from_several_sides_are_ready() -> None:
    found = coach(report(*map(photo, range(6))), CALIBRATION)
    assert (found.state, found.suggestions, found.leave_out) == (CoachState.READY, (), ())


def test_another_person_among_the_photos_is_pointed_at() -> None:
    stranger = photo(6, person=1)
    assert said(report(*map(photo, range(6)), stranger)) == {CoachTopic.OUTLIER: ("6.jpg",)}
    refused = photo(6, person=1, verdict=PhotoOutcome.SOMEONE_ELSE)
    found = coach(report(*map(photo, range(6)), refused), CALIBRATION)
    assert found.leave_out == ("6.jpg",) and found.state is CoachState.BETTER


def test_of_two_pictures_of_one_moment_the_sharper_one_stays() -> None:
    first = photo(1)
    assert first.fingerprint is not None and first.embedding is not None
    again = photo(6, embedding=first.embedding, fingerprint=first.fingerprint ^ 0b111, sharpness=99.0)
    found = said(report(*map(photo, range(6)), again))
    assert found == {CoachTopic.DUPLICATE: ("1.jpg",)}
    another = photo(6, embedding=first.embedding, fingerprint=first.fingerprint ^ (2**40 - 1))
    assert CoachTopic.DUPLICATE not in said(report(*map(photo, range(6)), another))


def test_a_photo_is_blurred_or_dark_beside_the_others() -> None:
    photos = [*map(photo, range(5)), photo(5, sharpness=10.0)]
    assert said(report(*photos)) == {CoachTopic.BLUR: ("5.jpg",)}
    photos = [*map(photo, range(5)), photo(5, brightness=80.0)]
    assert said(report(*photos)) == {CoachTopic.LIGHT: ("5.jpg",)}


def test_glasses_are_told_of_most_photos_and_not_of_one() -> None:
    edges = (3.0, 2.6, 1.1, 2.9, 3.4, 0.9)
    worn = [photo(i, bridge_edge=edge) for i, edge in enumerate(edges)]
    found = coach(report(*worn), CALIBRATION)
    assert [(one.topic, one.photos, one.leave_out) for one in found.suggestions] == [(CoachTopic.GLASSES, (), False)]
    assert said(report(*(photo(i, bridge_edge=edge) for i, edge in enumerate((5.0, 1.0, 1.2, 0.8, 1.1, 3.0))))) == {}
    few = [photo(i, bridge_edge=4.0) for i in range(3)]
    assert CoachTopic.GLASSES not in said(report(*few))


def test_a_covered_face_is_named_and_may_be_left_out() -> None:
    photos = [*(photo(i, covered=-1.0) for i in range(5)), photo(5, covered=0.8)]
    found = coach(report(*photos), CALIBRATION)
    assert said(report(*photos)) == {CoachTopic.COVERED: ("5.jpg",)}
    assert found.leave_out == ("5.jpg",) and found.state is CoachState.BETTER
    assert coach(report(*(photo(i, covered=0.8) for i in range(6))), CALIBRATION).state is CoachState.NOT_ENOUGH
    unlike = photo(6, person=1, covered=0.8, verdict=PhotoOutcome.SOMEONE_ELSE)
    assert said(report(*map(photo, range(6)), unlike)) == {CoachTopic.COVERED: ("6.jpg",)}, "not another person"


def test_what_the_coach_only_suspects_never_makes_a_set_too_small() -> None:
    doubtful = [photo(0), photo(1, sharpness=99.0), photo(2, sharpness=10.0), photo(3, embedding=like(5, 3))]
    found = coach(report(*doubtful), CALIBRATION)
    assert len(found.leave_out) == 2 and found.state is CoachState.BETTER


def test_if_all_are_soft_no_photo_is_named() -> None:
    found = coach(report(*(photo(i, sharpness=12.0) for i in range(6))), CALIBRATION)
    assert [(one.topic, one.photos) for one in found.suggestions] == [(CoachTopic.BLUR, ())]
    refused = [photo(i, verdict=PhotoOutcome.BLURRED) for i in range(6)]
    found = coach(report(*refused), CALIBRATION)
    assert found.state is CoachState.NOT_ENOUGH
    assert CoachTopic.BLUR in {one.topic for one in found.suggestions}


def test_a_set_that_only_looks_ahead_lacks_half_profiles() -> None:
    found = coach(report(*(photo(i, yaw=3.0, pitch=0.0) for i in range(6))), CALIBRATION)
    assert found.state is CoachState.BETTER
    (one,) = found.suggestions
    assert one.sentence == "What would help: a half profile to the left, a half profile to the right."
    assert not one.leave_out


def test_the_map_counts_where_the_heads_look() -> None:
    photos = [
        photo(0, yaw=0, pitch=0),
        photo(1, yaw=-40, pitch=20),
        photo(2, yaw=16, pitch=0),
        photo(3, yaw=2, pitch=-16),
    ]
    assert coverage(photos) == {
        HeadBin.LEFT: 1, HeadBin.FRONT: 1, HeadBin.RIGHT: 1, HeadBin.UP: 1, HeadBin.DOWN: 1,
    }  # fmt: skip


def test_faces_that_are_too_small_are_said() -> None:
    small = photo(6, verdict=PhotoOutcome.TOO_SMALL)
    assert said(report(*map(photo, range(6)), small)) == {CoachTopic.SMALL: ("6.jpg",)}


@pytest.mark.parametrize(
    ("count", "state"), [(1, CoachState.NOT_ENOUGH), (2, CoachState.NOT_ENOUGH), (4, CoachState.BETTER)]
)
def test_few_photos_are_not_enough(count: int, state: CoachState) -> None:
    found = coach(report(*map(photo, range(count))), CALIBRATION)
    assert found.state is state
    assert CoachTopic.COUNT in {one.topic for one in found.suggestions}


def test_what_is_left_out_does_not_count_as_enough() -> None:
    first = photo(0)
    doubles = [photo(i, embedding=first.embedding, fingerprint=first.fingerprint, yaw=0.0) for i in range(1, 5)]
    assert coach(report(first, *doubles), CALIBRATION).state is CoachState.NOT_ENOUGH


def test_nothing_that_the_coach_says_is_a_grade() -> None:
    told = coach(report(*map(photo, range(6))), CALIBRATION).to_mapping()
    assert set(told) == {"state", "suggestions", "poses", "leave_out"}
    assert told["poses"] == {"left": 2, "front": 2, "right": 1, "up": 1, "down": 0}


def test_a_fingerprint_stays_through_light_and_compression() -> None:
    draw = np.random.default_rng(1)
    picture = np.kron(draw.integers(0, 255, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.float32)
    other = np.kron(draw.integers(0, 255, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.float32)
    noisy = np.clip(picture * 0.8 + 10 + draw.normal(0, 3, picture.shape), 0, 255).astype(np.float32)
    assert (perceptual_hash(picture) ^ perceptual_hash(noisy)).bit_count() <= 8
    assert (perceptual_hash(picture) ^ perceptual_hash(other)).bit_count() > 16


def test_a_narrow_face_is_no_turned_one() -> None:
    """Where 68 points are known, the nose says where a head looks."""
    points = np.zeros((68, 2), np.float32)
    points[[30, 8, 36, 45, 48, 54]] = [(50, 60), (50, 95), (30, 40), (70, 40), (40, 75), (60, 75)]
    ahead = Face((20, 20, 80, 100), np.zeros((5, 2), np.float32), landmarks=points)
    assert looks(photo(0, yaw=25.0, pitch=0.0, face=ahead)) == (HeadBin.FRONT,)
    moved = points.copy()
    moved[30] += (4, 0)
    assert looks(photo(0, yaw=0.0, pitch=0.0, face=replace(ahead, landmarks=moved))) == (HeadBin.RIGHT,)
    assert looks(photo(0, yaw=25.0, pitch=0.0, face=replace(ahead, landmarks=None))) == (HeadBin.RIGHT,)
