"""Tests of finding faces in photographs and of telling people apart, with the packaged backends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from easyphoto.ports import Face, Image, Points, Vision
from easyphoto.vision import detect_near, eyewear, geometry, landmarks, likeness, pose, sharpness
from easyphoto.vision.backends import hog_levels
from easyphoto.vision.backends.dlib_faces import SURE, DlibBox, Found, LandmarkPredictor, box_of_five, whole


def padded(image: Image, fraction: float) -> Image:
    """The picture shrunk to ``fraction`` of its side and laid on a grey square of its own size."""
    small = geometry.resize(image, (round(image.shape[0] * fraction), round(image.shape[1] * fraction)))
    canvas = np.full((max(image.shape), max(image.shape), 3), 127, np.uint8)
    canvas[40 : 40 + small.shape[0], 60 : 60 + small.shape[1]] = small
    return canvas


def test_the_photographs_have_one_one_and_six_faces(collins: Face, hopper: Face, six_faces: list[Face]) -> None:
    for face, middle in ((collins, (225, 125)), (hopper, (265, 230))):
        assert np.hypot(*(np.array(face.center) - middle)) < 0.25 * face.width
    assert len(six_faces) == 6
    centers = [f.center[0] for f in six_faces]
    assert centers == sorted(centers)


def test_points_are_where_they_should_be(collins: Face, six_faces: list[Face]) -> None:
    for face in (collins, *six_faces):
        assert face.points.shape == (5, 2) and face.landmarks is not None and face.landmarks.shape == (68, 2)
        left, right, nose, mouth_left, mouth_right = face.points
        assert left[0] < right[0] and mouth_left[0] < mouth_right[0]
        assert max(left[1], right[1]) < nose[1] < max(mouth_left[1], mouth_right[1])
        assert np.allclose(landmarks.five(face.landmarks), face.points)
        assert face.box[0] <= face.landmarks[:, 0].min() and face.box[3] >= face.landmarks[:, 1].max()


@pytest.mark.parametrize("side", [256, 1024, 3000])
def test_the_size_of_the_photo_does_not_matter(vision: Vision, astronaut: Image, collins: Face, side: int) -> None:
    faces = vision.detector.detect(geometry.resize(astronaut, (side, side)))
    assert len(faces) == 1
    assert np.allclose(faces[0].points * 512 / side, collins.points, atol=4)


def test_a_tiny_face_is_found(vision: Vision, astronaut: Image) -> None:
    (face,) = vision.detector.detect(padded(astronaut, 0.5))
    assert face.width < 60


def test_a_face_cut_by_the_border_is_found_and_used(vision: Vision, astronaut: Image, collins: Face) -> None:
    x, _ = collins.center
    half = astronaut[:, : round(x + 0.32 * collins.width)].copy()
    top = astronaut[round(collins.points[0][1] - 14) :].copy()
    for picture in (half, top):
        for face in vision.detector.detect(picture)[:1]:
            assert np.isfinite(vision.embedder.embed(picture, face)).all()
            parts = vision.parser.parse(picture, face)
            assert parts.face.shape == picture.shape[:2]
            fused = vision.fuser.fuse(picture, face, astronaut, collins)
            assert fused.shape == picture.shape


def test_grey_dark_and_odd_pictures(vision: Vision, astronaut: Image) -> None:
    grey = np.repeat(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert len(vision.detector.detect(grey)) == 1
    assert len(vision.detector.detect((astronaut // 3).astype(np.uint8))) == 1
    turned = np.ascontiguousarray(astronaut[:, ::-1])
    assert len(vision.detector.detect(turned)) == 1
    assert len(vision.detector.detect(astronaut[:, ::-1])) == 1, "a view with a negative stride"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (40, 3), (64, 64)])
def test_pictures_without_a_face_have_none(vision: Vision, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert vision.detector.detect(noise) == []
    assert vision.retoucher.retouch(noise).shape == noise.shape
    assert vision.saliency.mask(noise, None).shape == size
    assert vision.enhancer.enhance(noise, 1.5).shape[0] == max(1, round(size[0] * 1.5))


def test_detection_is_quick_enough(vision: Vision, astronaut: Image) -> None:
    picture = geometry.resize(astronaut, (1024, 1024))
    vision.detector.detect(picture)
    taken = []
    for turn in range(3):
        picture[0, 0] = turn  # equal pixels are looked at once
        start = time.process_time()
        vision.detector.detect(picture)
        taken.append(time.process_time() - start)
    assert min(taken) < 1.0


def test_one_person_is_nearer_than_strangers(
    vision: Vision, astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face, six_people: Image,
    six_faces: list[Face],
) -> None:  # fmt: skip
    embed = vision.embedder.embed
    own = embed(astronaut, collins)
    assert own.shape == (128,) and np.isclose(np.linalg.norm(own), 1, atol=1e-5)
    strangers = [embed(grace_hopper, hopper), *(embed(six_people, f) for f in six_faces)]
    furthest = max(likeness(vision.embedder, own, s).score for s in strangers)
    matrix = cv2.getRotationMatrix2D((256, 256), 12, 0.8)
    worn = np.clip(geometry.warp(astronaut, matrix, (512, 512)) * 0.7 + 30, 0, 255).astype(np.uint8)
    for photo in (worn, np.ascontiguousarray(astronaut[:, ::-1]), padded(astronaut, 0.5)):
        (face,) = vision.detector.detect(photo)
        same = likeness(vision.embedder, own, embed(photo, face))
        assert same.score > 0.8 and same.embedder == vision.embedder.name
        assert same.score > furthest + 0.3


def test_the_six_are_six_people(vision: Vision, six_people: Image, six_faces: list[Face]) -> None:
    vectors = np.array([vision.embedder.embed(six_people, f) for f in six_faces])
    cosines = (vectors @ vectors.T)[~np.eye(6, dtype=bool)]
    threshold = vision.embedder.calibration.cosine(0.75)
    assert cosines.max() < threshold
    assert cosines.mean() < vision.embedder.calibration.cosine(0.4)


def test_the_calibration_says_what_it_was_measured_on(vision: Vision) -> None:
    calibration = vision.embedder.calibration
    assert calibration.same_mean - calibration.same_std > calibration.stranger_mean + calibration.stranger_std
    assert "pairs" in calibration.source
    assert np.isclose(calibration.score(calibration.cosine(0.3)), 0.3)


@pytest.mark.parametrize("backend", ["dlib", "dlib-5"])
@pytest.mark.parametrize("side", [320, 384, 512])
def test_a_face_whose_place_is_known_is_found_in_less_time_and_bit_by_bit_the_same(
    vision: Vision, astronaut: Image, grace_hopper: Image, backend: str, side: int
) -> None:
    detector = vision.preferring({"detector": backend}).detector
    for picture in (astronaut, grace_hopper):
        (there,) = detector.detect(picture)
        crop = geometry.face_crop(there, 3.0, (picture.shape[0], picture.shape[1]))
        work = geometry.resize(geometry.cut(picture, crop), (side, side))
        expected = geometry.in_crop(there, crop, (side, side))
        (known,), (found,) = detect_near(detector, work, expected), detector.detect(work)
        assert known.box == found.box
        assert known.score == found.score
        np.testing.assert_array_equal(known.points, found.points)
        if backend == "dlib":
            np.testing.assert_array_equal(np.asarray(known.landmarks), np.asarray(found.landmarks))


def test_a_part_of_a_face_is_no_face() -> None:
    face, mouth, beside = (158.0, 85.0, 415.0, 380.0), (193.0, 218.0, 309.0, 351.0), (400.0, 85.0, 520.0, 215.0)
    unsure = SURE / 2

    def left(*found: Found) -> list[DlibBox]:
        return [box for box, _ in whole(list(found))]

    assert left((mouth, unsure), (face, 0.54)) == left((face, 0.54), (mouth, unsure)) == [face]
    assert left((mouth, SURE), (face, 0.54)) == [mouth, face], "one head may be seen before another"
    assert left((beside, unsure), (face, 0.54)) == [beside, face], "it only touches the other"
    assert left((mouth, 0.2), (face, 0.1)) == [mouth, face], "the larger one is less sure"


def test_a_face_that_is_not_where_it_was_expected_is_looked_for_everywhere(vision: Vision, astronaut: Image) -> None:
    (there,) = vision.detector.detect(astronaut)
    away = geometry.move_face(there, np.array([[1.0, 0.0, -150.0], [0.0, 1.0, 250.0]]))
    (found,) = detect_near(vision.detector, astronaut, away)
    assert found.box == there.box


def test_levels_are_left_out_only_where_faces_are_small() -> None:
    assert hog_levels.first_level(2 * hog_levels.WINDOW) == 0
    assert hog_levels.first_level(2 * hog_levels.WINDOW * 1.2**3 - 1) == 3
    assert hog_levels.first_level(2 * hog_levels.WINDOW * 1.2**3 + 1) == 4


def test_landmarks_are_predicted_when_a_detector_gives_five_points(
    vision: Vision, astronaut: Image, collins: Face
) -> None:
    bare = Face(box=collins.box, points=collins.points)
    with_all, with_five = vision.embedder.embed(astronaut, collins), vision.embedder.embed(astronaut, bare)
    assert with_all @ with_five > 0.95
    ours, theirs = vision.parser.parse(astronaut, collins).face, vision.parser.parse(astronaut, bare).face
    assert (ours * theirs).sum() > 0.9 * ours.sum()


def test_several_threads_see_the_same(vision: Vision, astronaut: Image, grace_hopper: Image) -> None:
    seen: list[tuple[int, float]] = []

    def work(image: Image) -> None:
        for _ in range(2):
            (face,) = vision.detector.detect(image)
            seen.append((image.shape[0], float(vision.embedder.embed(image, face)[0])))

    threads = [threading.Thread(target=work, args=(i,)) for i in (astronaut, grace_hopper, astronaut)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 6
    assert len(set(seen)) == 2


def test_the_pose_of_a_face(collins: Face, hopper: Face, six_faces: list[Face]) -> None:
    assert abs(pose.pose(hopper).yaw) < 12 and abs(pose.pose(hopper).roll) < 8
    second = pose.pose(six_faces[1])
    assert second.yaw < -15, "she looks to the viewer's left"
    assert pose.pose(six_faces[0]).roll != 0
    turn = cv2.getRotationMatrix2D((225, 125), -20, 1.0)
    tilted = pose.pose(geometry.move_face(collins, turn))
    assert np.isclose(tilted.roll - pose.pose(collins).roll, 20, atol=2)
    mirror = np.array([[-1.0, 0, 512], [0, 1, 0]])
    points = geometry.transform(mirror, six_faces[1].points)[[1, 0, 2, 4, 3]]
    mirrored = pose.pose(Face(box=(0, 0, 1, 1), points=points))
    assert mirrored.yaw > 0, "mirrored she looks to the right"


def test_blur_lowers_the_sharpness_at_any_size(astronaut: Image, collins: Face) -> None:
    sharp = sharpness.sharpness(astronaut, collins)
    blurred = [sharpness.sharpness(cv2.GaussianBlur(astronaut, (0, 0), s), collins) for s in (1.0, 2.0, 4.0)]
    assert sharp > 2 * blurred[0] > 4 * blurred[1] > blurred[2]
    double = geometry.move_face(collins, np.array([[2.0, 0, 0], [0, 2.0, 0]]))
    large = sharpness.sharpness(geometry.resize(astronaut, (1024, 1024)), double)
    assert 0.5 < large / sharp < 2
    assert sharpness.sharpness(np.zeros((1, 1, 3), np.uint8)) == 0


def _rims(image: Image, points: Points) -> Image:
    """``image`` with the dark rims of thick glasses, a little low."""
    worn = image.copy()
    width = float(np.hypot(*(points[45] - points[36])))
    for eye in (points[36:42].mean(0), points[42:48].mean(0)):
        near, far = eye + np.array([-0.3, -0.05]) * width, eye + np.array([0.3, 0.39]) * width
        corners = (tuple(int(edge) for edge in corner) for corner in (near, far))
        cv2.rectangle(worn, *corners, (15, 15, 15), round(0.08 * width))
    return worn


def test_points_settle_behind_glasses_and_stay_as_they_are_without(
    astronaut: Image, collins: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, points = LandmarkPredictor(), collins.landmarks
    assert points is not None
    left, top, right, bottom = box_of_five(landmarks.five(points))
    side = right - left
    boxes = [
        (left + x * side, top + y * side, right + x * side, bottom + y * side)
        for x, y in ((0, 0), (0.06, 0), (-0.06, 0), (0, 0.06), (0, -0.06))
    ]
    for box in boxes:
        assert np.array_equal(predictor.settle(astronaut, box), predictor.predict(astronaut, box))

    behind = _rims(astronaut, points)
    monkeypatch.setattr(eyewear, "worn", lambda image, points: True)

    def spread(find: Callable[[Image, DlibBox], Points]) -> float:
        found = np.stack([find(behind, box) for box in boxes])
        return float(np.sqrt(((found - np.median(found, axis=0)) ** 2).sum(2).mean()))

    assert spread(predictor.settle) < 0.5 * spread(predictor.predict)
