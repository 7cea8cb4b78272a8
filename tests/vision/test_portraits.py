"""Tests of parsing, fusion, retouching, saliency and enhancement on photographs: what they change, and what they must
not."""

from __future__ import annotations

import numpy as np
import pytest

from easyphoto.ports import Face, FaceParts, Image, Mask, Vision
from easyphoto.vision import geometry, makeup, masks


def inside(mask: Mask, spots: np.ndarray) -> bool:
    return all(mask[round(float(y)), round(float(x))] > 0.5 for x, y in np.atleast_2d(spots))


@pytest.fixture(scope="module")
def collins_parts(vision: Vision, astronaut: Image, collins: Face) -> FaceParts:
    return vision.parser.parse(astronaut, collins)


def test_the_parts_are_where_the_points_are(collins_parts: FaceParts, collins: Face, astronaut: Image) -> None:
    parts, points = collins_parts, collins.landmarks
    assert points is not None
    for mask in vars(parts).values():
        assert mask.shape == astronaut.shape[:2] and mask.dtype == np.float32
        assert mask.min() >= 0 and mask.max() == 1
    assert inside(parts.eyes, collins.points[:2])
    assert inside(parts.nose, collins.points[2])
    assert inside(parts.lips, (points[51] + points[57]) / 2)
    assert inside(parts.brows, points[[19, 24]])
    assert inside(parts.skin, (points[[2, 14]] + points[30]) / 2)
    assert not (parts.skin * masks.intersection(parts.eyes, parts.lips)).any()
    assert (np.maximum(parts.skin, parts.eyes) <= parts.face + 1e-6).all()


def test_the_forehead_is_face_and_the_fringe_is_not(
    vision: Vision, collins_parts: FaceParts, collins: Face, six_people: Image, six_faces: list[Face]
) -> None:
    points = collins.landmarks
    assert points is not None
    nose = points[33] - points[27]
    fringe = points[27] - 1.15 * nose
    assert collins_parts.face[round(float(fringe[1])), round(float(fringe[0]))] < 0.5
    bare = six_faces[5]
    assert bare.landmarks is not None
    above = bare.landmarks[27] - 0.8 * (bare.landmarks[33] - bare.landmarks[27])
    assert inside(vision.parser.parse(six_people, bare).face, above)


def test_fusion_brings_the_person_and_leaves_the_rest(
    vision: Vision, astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face
) -> None:
    fused = vision.fuser.fuse(grace_hopper, hopper, astronaut, collins)
    own = vision.embedder.embed(astronaut, collins)
    (face,) = vision.detector.detect(fused)
    before = vision.embedder.embed(grace_hopper, hopper) @ own
    after = vision.embedder.embed(fused, face) @ own
    assert after > before + 0.35
    assert np.abs(face.points - hopper.points).max() < 0.08 * hopper.width
    changed = (fused != grace_hopper).any(axis=2)
    face_mask = vision.parser.parse(grace_hopper, hopper).face
    assert not changed[masks.dilate(face_mask, 2) == 0].any()
    assert changed[face_mask > 0.5].mean() > 0.5


def test_fusion_in_a_group_leaves_the_others(
    vision: Vision, astronaut: Image, collins: Face, six_people: Image, six_faces: list[Face]
) -> None:
    fused = vision.fuser.fuse(six_people, six_faces[1], astronaut, collins)
    crop = geometry.face_crop(six_faces[1], 1.6, six_people.shape[:2])
    outside = np.ones(six_people.shape[:2], bool)
    outside[crop.top : crop.bottom, crop.left : crop.right] = False
    assert np.array_equal(fused[outside], six_people[outside])
    own = vision.embedder.embed(astronaut, collins)
    before = vision.embedder.embed(six_people, six_faces[1]) @ own
    assert vision.embedder.embed(fused, six_faces[1]) @ own > before + 0.15


def test_fusing_a_face_with_itself_keeps_it(vision: Vision, astronaut: Image, collins: Face) -> None:
    fused = vision.fuser.fuse(astronaut, collins, astronaut, collins)
    assert (
        np.abs(fused.astype(int) - astronaut).mean(axis=2)[vision.parser.parse(astronaut, collins).skin > 0.5].mean()
        < 4
    )


def test_fusion_at_the_very_edge_and_outside(vision: Vision, astronaut: Image, collins: Face) -> None:
    target = np.full((60, 60, 3), 120, np.uint8)
    assert collins.landmarks is not None
    for x, y in ((-30.0, -30.0), (-400.0, 10.0), (20.0, 20.0)):
        shift = np.array([[0.5, 0, x - 80], [0, 0.5, y - 30]])
        fused = vision.fuser.fuse(target, geometry.move_face(collins, shift), astronaut, collins)
        assert fused.shape == target.shape and fused.dtype == np.uint8


def test_retouch_smooths_skin_and_nothing_else(
    vision: Vision, grace_hopper: Image, hopper: Face, astronaut: Image
) -> None:
    retouched = vision.retoucher.retouch(grace_hopper)
    parts = vision.parser.parse(grace_hopper, hopper)
    assert np.array_equal(retouched[parts.skin < 0.5], grace_hopper[parts.skin < 0.5])
    core = masks.erode(parts.skin, 8) > 0
    assert (retouched[core] != grace_hopper[core]).mean() > 0.3
    assert roughness(retouched, core) < 0.96 * roughness(grace_hopper, core)


def roughness(image: Image, where: np.ndarray) -> float:
    light = image.astype(np.float32).mean(axis=2)
    return float(
        np.abs(light - geometry.resize(geometry.resize(image, (75, 64)), light.shape).mean(axis=2))[where].mean()
    )


def test_saliency_takes_the_person_and_not_the_wall(
    vision: Vision, astronaut: Image, collins: Face, grace_hopper: Image, hopper: Face
) -> None:
    for image, face, wall in ((astronaut, collins, (40, 420)), (grace_hopper, hopper, (100, 460))):
        mask = vision.saliency.mask(image, face)
        assert mask.shape == image.shape[:2] and mask.dtype == np.float32
        assert mask.min() >= 0 and mask.max() <= 1
        x, y = face.center
        assert mask[round(y), round(x)] > 0.9
        assert mask[min(image.shape[0] - 1, round(y + 2 * face.height)), round(x)] > 0.9
        assert mask[wall] < 0.1
        assert np.array_equal(mask, vision.saliency.mask(image, face)), "the same each time"


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
def test_enhancing_enlarges_and_sharpens(vision: Vision, astronaut: Image, scale: float) -> None:
    small = geometry.resize(astronaut, (200, 160))
    large = vision.enhancer.enhance(small, scale)
    assert large.shape == (round(200 * scale), round(160 * scale), 3)
    plain = geometry.resize(small, large.shape[:2])
    assert np.abs(np.diff(large.astype(int), axis=0)).mean() > np.abs(np.diff(plain.astype(int), axis=0)).mean()
    assert np.abs(large.astype(int) - plain).mean() < 6
    with pytest.raises(ValueError, match="at least 1"):
        vision.enhancer.enhance(small, 0.5)


def test_make_up_spares_the_teeth(
    vision: Vision, astronaut: Image, collins: Face, collins_parts: FaceParts, six_people: Image, six_faces: list[Face]
) -> None:
    model = vision.parser.parse(six_people, six_faces[1])
    made_up = makeup.transfer(astronaut, collins_parts, six_people, model, 1.0)
    assert collins.landmarks is not None
    x, y = collins.landmarks[60:68].mean(0)
    teeth = slice(round(float(y)) - 2, round(float(y)) + 1), slice(round(float(x)) - 5, round(float(x)) + 6)
    lip = collins.landmarks[[51, 57]].mean(0)
    assert np.abs(made_up[teeth].astype(int) - astronaut[teeth]).mean() < 12, lip
    assert np.array_equal(made_up[collins_parts.face == 0], astronaut[collins_parts.face == 0])
