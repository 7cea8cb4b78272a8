from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easyphoto import families
from easyphoto.config import Family
from easyphoto.families.spec import MaskReach
from easyphoto.inference import stages
from easyphoto.ports import Face, FaceParts, Mask
from easyphoto.vision import geometry, masks
from easyphoto.vision.geometry import Crop
from tests.fakes import FakeVision, blank, draw_face, face_in

WIDTH = 100


@pytest.fixture
def face() -> Face:
    return face_in((100, 90, 100 + WIDTH, 90 + 120))


@pytest.fixture
def parts(face: Face) -> FaceParts:
    return FakeVision().parser.parse(blank(300, 300), face)


def at(face: Face, dx: float, dy: float) -> tuple[int, int]:
    """(row, column) of a point in units of the face's width and height from its centre."""
    x, y = face.center
    return round(y + dy * face.height), round(x + dx * face.width)


def test_the_first_mask_is_the_face_without_holes_and_a_little_more(face: Face, parts: FaceParts) -> None:
    holed = parts.face.copy()
    holed[at(face, 0, 0)] = 0
    mask = stages.first_mask(FaceParts(holed, *(parts.skin,) * 5), WIDTH)
    assert (mask >= parts.face).all()
    grown = np.flatnonzero(mask.any(0)).size - np.flatnonzero(parts.face.any(0)).size
    assert grown == pytest.approx(WIDTH / 10, abs=2)


def test_the_second_mask_is_a_ring_with_eyes_and_lips(face: Face, parts: FaceParts) -> None:
    mask = stages.second_mask(parts, WIDTH)
    for point in (*face.points[:2], face.points[3:].mean(0)):
        assert mask[round(float(point[1])), round(float(point[0]))] == 1
    assert mask[at(face, 0, 0.5)] == 1
    assert mask[at(face, 0.5, 0)] == 1
    cheek = at(face, 0.25, 0.1)
    assert mask[cheek] == 0
    assert mask[at(face, 0.7, 0)] == 0


@given(st.floats(0.2, 0.8))
@settings(max_examples=10, deadline=None)
def test_skin_is_blended_at_the_ratio_eyes_fully_and_lips_not_at_all(ratio: float) -> None:
    face = face_in((200, 180, 600, 660))
    parts = FakeVision().parser.parse(blank(800, 800), face)
    mask = stages.blend_mask(parts, parts, ratio, face.width)
    assert mask[at(face, 0.3, 0.1)] == pytest.approx(ratio, abs=0.02)
    for x, y in face.points[:2]:
        assert mask[round(float(y)), round(float(x))] > 0.97
    x, y = face.points[3:].mean(0)
    assert mask[round(float(y)), round(float(x))] < 0.03
    assert mask[at(face, 0.6, 0)] == 0
    assert 0 <= mask.min() <= mask.max() <= 1


def test_the_face_id_picture_lands_on_the_template_s_face() -> None:
    vision = FakeVision()
    template = draw_face(blank(400, 400), (260, 150), 80, who=10)
    source = draw_face(blank(300, 300), (120, 160), 130, who=70)
    face, own = vision.detector.detect(template)[0], vision.detector.detect(source)[0]
    replaced = stages.replace_face(template, face, source, own)
    found = vision.detector.detect(replaced)
    assert len(found) == 1
    assert np.abs(np.array(found[0].center) - face.center).max() < 3
    assert found[0].width == pytest.approx(face.width, rel=0.06)
    assert vision.embedder.embed(replaced, found[0]) @ vision.embedder.embed(source, own) > 0.999
    assert (replaced[:, :100] == template[:, :100]).all()


def boxes(limit: int) -> st.SearchStrategy[Face]:
    sides = st.tuples(st.integers(0, limit), st.integers(0, limit), st.integers(20, 80), st.integers(20, 80))
    return sides.map(lambda s: Face((s[0], s[1], s[0] + s[2], s[1] + s[3]), np.zeros((5, 2), np.float32)))


@given(boxes(200), st.lists(boxes(200), max_size=4))
@settings(max_examples=60, deadline=None)
def test_nothing_may_change_in_another_face_s_box_unless_the_two_overlap(own: Face, others: list[Face]) -> None:
    size = (300, 300)
    free = stages.allowed(Crop(0, 0, 300, 300), [own], others)
    assert 0 <= free.min() <= free.max() <= 1
    mine = np.zeros(size, bool)
    left, top, right, bottom = (round(side) for side in own.box)
    mine[top : bottom + 1, left : right + 1] = True
    for other in others:
        left, top, right, bottom = (round(side) for side in other.box)
        theirs = np.zeros(size, bool)
        theirs[top : bottom + 1, left : right + 1] = True
        assert (free[theirs & ~mine] == 0).all()
    apart = all(stages.overlap(stages.grown(own, 1.6), stages.grown(other, 1.6)) == 0 for other in others)
    if apart:
        assert (free[mine] > 0.9).all()


def test_a_crop_is_guarded_as_the_whole_picture_is() -> None:
    own, other = face_in((100, 100, 180, 200)), face_in((190, 60, 260, 150))
    crop = Crop(60, 70, 230, 240)
    whole = stages.allowed(Crop(0, 0, 300, 300), [own], [other]) == 0
    part = stages.allowed(crop, [own], [other]) == 0
    assert part.any()
    assert (part == whole[crop.top : crop.bottom, crop.left : crop.right]).all()


def test_of_two_faces_cheek_to_cheek_each_keeps_its_own_middle() -> None:
    a, b = face_in((100, 100, 180, 200)), face_in((160, 100, 240, 200))
    free = stages.allowed(Crop(0, 0, 300, 300), [a], [b])
    assert free[150, 140] == 1
    assert (free[100:201, 182:241] == 0).all()


@given(st.integers(0, 90), st.integers(0, 90), st.integers(20, 110), st.integers(20, 110), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_pasting_back_changes_nothing_outside_the_crop(left: int, top: int, width: int, height: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    picture = noise.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    crop = Crop(left, top, left + width, top + height)
    patch = noise.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    changed = (noise.random((64, 96)) > 0.5).astype(np.float32)
    mask = stages.paste_mask(changed, 30, crop, (200, 200))
    permitted = (noise.random(crop.size) > 0.3).astype(np.float32)
    result = stages.paste_back(picture, patch, crop, mask, permitted)
    inside = np.zeros((200, 200), bool)
    inside[top : top + height, left : left + width] = True
    assert (result[~inside] == picture[~inside]).all()
    assert (geometry.cut(result, crop)[permitted == 0] == geometry.cut(picture, crop)[permitted == 0]).all()


def test_a_portrait_fades_into_the_picture_but_not_at_the_picture_s_own_border() -> None:
    inner = stages.crop_mask(Crop(20, 20, 80, 80), (100, 100))
    corner = stages.crop_mask(Crop(0, 0, 80, 80), (100, 100))
    assert inner[0].max() == inner[-1].max() == inner[:, 0].max() == inner[:, -1].max() == 0
    assert inner[30, 30] == 1
    assert corner[0, 0] == 1
    assert corner[-1].max() == corner[:, -1].max() == 0


def test_colours_come_from_the_template_s_face_and_the_lips_may_keep_theirs(face: Face, parts: FaceParts) -> None:
    template = blank(300, 300, gray=160)
    image = template.copy()
    image[..., 2] = image[..., 2] // 2
    whole = stages.shift_colours(image, parts, template, parts, WIDTH, lips=True)
    spared = stages.shift_colours(image, parts, template, parts, WIDTH, lips=False)
    cheek, lips = at(face, 0.25, 0.1), tuple(int(v) for v in np.argwhere(parts.lips > 0.5).mean(0))
    assert np.abs(whole[cheek].astype(int) - template[cheek]).max() < 12
    assert np.abs(spared[lips].astype(int) - image[lips]).max() < np.abs(whole[lips].astype(int) - image[lips]).max()
    assert (whole[at(face, 0.9, 0)] == image[at(face, 0.9, 0)]).all()


def test_seams_lie_around_the_faces_and_the_outside_is_all_but_them(face: Face) -> None:
    seams, outside = stages.seams_mask((300, 300), [face]), stages.outside_mask((300, 300), [face])
    assert seams[at(face, 0, 0)] == outside[at(face, 0, 0)] == 0
    assert seams[at(face, 0.5, 0)] == 1
    assert seams[5, 5] == 0
    assert outside[5, 5] == 1


def test_the_face_that_stands_there_is_found_again() -> None:
    expected = face_in((100, 100, 150, 150))
    left, there = face_in((20, 100, 70, 150)), face_in((110, 105, 165, 160))
    assert stages.nearest([left, there], expected) is there
    assert stages.nearest([left], expected) is None
    assert stages.nearest([], expected) is None


def test_a_frame_is_three_faces_wide_or_the_whole_picture() -> None:
    picture = blank(600, 500)
    face = face_in((300, 200, 380, 280))
    frame = stages.frame(picture, face, Family.SD1, crop=True)
    assert frame.crop.size == (240, 240)
    assert frame.size == frame.image.shape[:2] == (512, 512)
    assert frame.face.width == pytest.approx(512 / 3, rel=0.02)
    whole = stages.frame(picture, face, Family.SD1, crop=False)
    assert whole.crop == Crop(0, 0, 600, 500)
    assert whole.size == (512, 608)
    back = geometry.resize(whole.image, whole.crop.size)
    assert np.abs(back.astype(int) - picture).mean() < 2


def test_a_seam_is_where_something_was_laid_and_nowhere_else() -> None:
    laid = np.zeros((200, 300), np.float32)
    laid[60:140, 100:200] = 1
    seams = stages.seams_only(laid, 85)
    assert seams[100, 100] > 0.9 and seams[60, 150] > 0.9
    assert seams[100, 150] == 0, "the middle of what was laid"
    assert seams[20, 20] == 0 and seams[100, 280] == 0
    assert not stages.seams_only(np.zeros((50, 50), np.float32), 85).any()


def test_what_was_repainted_keeps_the_tone_that_was_there_and_its_own_detail() -> None:
    under = blank(240, 200)
    detail = np.where(np.indices((200, 240)).sum(0) % 8 < 4, 9, -9)[..., None]
    painted = np.clip(under.astype(int) + 14 + detail, 0, 255).astype(np.uint8)
    mask = np.zeros((200, 240), np.float32)
    mask[40:160, 60:180] = 1
    kept = stages.in_tone(painted, under, mask, 8)
    inside = (slice(60, 140), slice(80, 160))
    assert abs(float(kept[inside].mean()) - float(under[inside].mean())) < 1
    assert float((kept[inside].astype(float) - under[inside]).std()) > 6


def moved(mask: Mask, dy: int) -> Mask:
    return np.roll(mask, dy, axis=0)


def test_only_the_bench_model_departs_from_the_reach_of_the_original() -> None:
    for spec in families.known():
        reach = spec.reach
        if spec.family != Family.BENCH:
            assert reach == MaskReach(0.05, 16 / 170, 8 / 170, 12 / 170, 5 / 170)
        else:
            assert reach.growth < 0.03
            assert reach.ring_outer + reach.paste + reach.paste_edge < 0.1, "an ear begins a tenth of a face away"


def test_a_narrow_reach_leaves_what_lies_beside_the_face(parts: FaceParts) -> None:
    narrow = families.spec(Family.BENCH).reach
    crop = Crop(0, 0, 300, 300)
    laid = [
        stages.paste_mask(stages.second_mask(parts, WIDTH, reach), WIDTH, crop, (300, 300), reach)
        for reach in (narrow, MaskReach())
    ]
    beside = masks.dilate(parts.face, 0.13 * WIDTH) - masks.dilate(parts.face, 0.11 * WIDTH)
    assert (laid[0][beside > 0] == 0).all()
    assert (laid[1][beside > 0] > 0.9).mean() > 0.9


def test_where_two_mouths_would_be_seen_the_fused_one_covers_both(parts: FaceParts) -> None:
    other = replace(parts, lips=moved(parts.lips, 8))
    assert not stages.same_mouth(parts, other)
    share = stages.blend_mask(parts, other, 0.6, WIDTH)
    both = masks.erode(masks.union(parts.lips, other.lips), 3) > 0
    assert both.any() and share[both].min() > 0.9
    alone = stages.blend_mask(parts, parts, 0.6, WIDTH)
    assert alone[masks.erode(parts.lips, 3) > 0].max() < 0.1


def test_the_mouth_gets_the_colour_of_the_template_s_lips(parts: FaceParts) -> None:
    template, image = blank(300, 300, gray=150), blank(300, 300, gray=150)
    template[parts.lips > 0.5] = (170, 40, 60)
    image[parts.lips > 0.5] = (150, 110, 100)
    tinted = stages.tint_lips(image, parts, template, parts, WIDTH)
    middle = masks.erode(parts.lips, 2) > 0
    assert np.abs(tinted[middle].astype(int) - (170, 40, 60)).max() < 12
    assert (tinted[at(face_in((100, 90, 200, 210)), 0.4, -0.2)] == 150).all()


def test_a_rim_of_glasses_does_not_shine_through(parts: FaceParts) -> None:
    fused = blank(300, 300, gray=170)
    image = fused.copy()
    image[150:154, 110:190] = 20
    unlike = stages.unlike(image, fused, WIDTH)
    share = stages.blend_mask(parts, parts, 0.6, WIDTH, unlike)
    assert share[152, 115:185].min() > 0.95
    assert share[at(face_in((100, 90, 200, 210)), 0.3, 0.25)] == pytest.approx(0.6, abs=0.03), "plain skin"


def test_harsh_light_does_not_grow_into_white_patches(parts: FaceParts) -> None:
    template, image = blank(300, 300, gray=120), blank(300, 300, gray=120)
    columns = np.arange(300)
    template[:] = np.where(columns % 40 < 20, 40, 220).astype(np.uint8)[None, :, None]
    image[:] = np.where(columns % 40 < 20, 110, 130).astype(np.uint8)[None, :, None]
    inside = masks.erode(parts.face, 20) > 0
    shifted = stages.shift_colours(image, parts, template, parts, WIDTH, lips=True)
    assert np.ptp(shifted[inside].astype(int)) <= 1.15 * 20 + 6


def test_fine_detail_comes_back_where_it_was_lost_and_nowhere_else() -> None:
    noise = np.random.default_rng(0).normal(0, 12, (200, 200, 3))
    sharp = np.clip(128 + noise, 0, 255).astype(np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2.0)
    image = np.hstack([soft, sharp])
    fused = np.hstack([sharp, soft])
    everywhere = np.ones((200, 400), np.float32)
    made = stages.crisper(image, fused, everywhere, 170)
    assert made[:, :180].std() > 0.8 * sharp[:, :180].std() > 1.5 * soft[:, :180].std()
    assert np.abs(made[:, 220:].astype(int) - image[:, 220:]).mean() < 1.0
    assert (stages.crisper(image, fused, masks.empty((200, 400)), 170) == image).all()


def test_what_a_pass_leaves_alone_stays_as_sharp_as_the_template() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    crop, whole = Crop(50, 50, 250, 250), np.ones((100, 100), np.float32)
    part = geometry.cut(picture, crop)
    mask = stages.paste_mask(whole, 30, crop, (300, 300))
    permitted = np.ones(crop.size, np.float32)
    small = geometry.resize(part, (100, 100))
    smeared = stages.paste_back(picture, small, crop, mask, permitted)
    kept = stages.paste_back(picture, small, crop, mask, permitted, stages.lost(part, (100, 100)))
    assert np.abs(smeared.astype(int) - picture).max() > 60
    assert np.abs(kept.astype(int) - picture).max() <= 1


def test_an_eye_behind_a_hand_is_not_laid_over_it(parts: FaceParts) -> None:
    ys, xs = np.nonzero(parts.eyes > 0.5)
    left = np.zeros_like(parts.face)
    left[:, : int(xs.mean())] = 1.0
    hidden = replace(parts, face=masks.without(parts.face, left), eyes=masks.without(parts.eyes, left))
    share = stages.blend_mask(hidden, parts, 0.6, 100)
    first, last = int(np.argmin(xs)), int(np.argmax(xs))
    assert share[ys[first], xs[first]] < 0.1
    assert share[ys[last], xs[last]] > 0.5


def test_what_was_fused_beside_a_face_is_told(face: Face) -> None:
    points = FakeVision().landmarks.locate(blank(300, 300), face)
    before = np.full((300, 300, 3), 90, np.uint8)
    fused = before.copy()
    x, y = points[27].astype(int)
    fused[y - 3 : y + 3, x - 3 : x + 3] = 120
    right = int(points[:, 0].max()) + 6
    fused[y, right : right + 6] = 20
    found = stages.beside(before, fused, points)
    assert found[y, right + 2] == 1 and found.sum() == 6
