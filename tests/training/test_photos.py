"""Tests of the photo report, on photographs of Eileen Collins, Grace Hopper and six others."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.events import Event, Notice
from easyphoto.ports import Image, Vision
from easyphoto.storage.folders import REPORT
from easyphoto.training import crops, photo_sheet, photos
from easyphoto.training.phase import Training
from easyphoto.training.phases import look
from easyphoto.training.photos import PhotoOutcome, PhotoReport
from easyphoto.training.spec import TrainingSpec
from tests.fakes import FakeVision, blank, draw_face
from tests.training.conftest import SpecMaker, portraits


@pytest.fixture(scope="module")
def named(astronaut: Image, grace_hopper: Image, six_people: Image) -> dict[str, Image]:
    good = portraits(astronaut, 5)
    beside = np.full((360, 620, 3), 127, np.uint8)
    beside[:256, :256] = good[2][:, ::-1]
    beside[40:340, 320:620] = cv2.resize(grace_hopper[:512], (300, 300), interpolation=cv2.INTER_AREA)
    return {
        **{f"good{i}.jpg": image for i, image in enumerate(good)},
        "copy.jpg": cv2.resize(good[0], (200, 200), interpolation=cv2.INTER_AREA),
        "hopper.jpg": grace_hopper[:512],
        "group.jpg": cv2.resize(six_people, (640, 443), interpolation=cv2.INTER_AREA),
        "two.jpg": beside,
        "nothing.jpg": blank(200, 200),
        "soft.jpg": cv2.GaussianBlur(portraits(astronaut, 7)[6], (0, 0), 4),
        "far.jpg": small_face(good[1]),
    }


def small_face(image: Image) -> Image:
    """The photo so small in a large picture that its face is found and too narrow."""
    far = np.full((260, 260, 3), 150, np.uint8)
    far[100:212, 80:192] = cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA)
    return far


@pytest.fixture(scope="module")
def report(named: dict[str, Image], vision: Vision) -> PhotoReport:
    return photos.report(list(named.items()), vision)


def verdict(report: PhotoReport, name: str) -> photos.PhotoVerdict:
    return next(p for p in report.photos if p.name == name)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good0.jpg", PhotoOutcome.TAKEN),
        ("good3.jpg", PhotoOutcome.TAKEN),
        ("copy.jpg", PhotoOutcome.DUPLICATE),
        ("hopper.jpg", PhotoOutcome.SOMEONE_ELSE),
        ("group.jpg", PhotoOutcome.SOMEONE_ELSE),
        ("two.jpg", PhotoOutcome.SEVERAL_FACES),
        ("nothing.jpg", PhotoOutcome.NO_FACE),
        ("soft.jpg", PhotoOutcome.BLURRED),
        ("far.jpg", PhotoOutcome.TOO_SMALL),
    ],
)
def test_every_photo_gets_its_verdict_and_a_reason(report: PhotoReport, name: str, expected: PhotoOutcome) -> None:
    found = verdict(report, name)
    assert found.verdict is expected, found.reason
    assert found.reason.endswith(".")
    assert found.taken is (expected in (PhotoOutcome.TAKEN, PhotoOutcome.SEVERAL_FACES))


def test_of_several_faces_the_person_is_used(report: PhotoReport) -> None:
    found = verdict(report, "two.jpg")
    assert found.face is not None and found.face.center[0] < 256
    assert found.likeness is not None and found.likeness > 0.5


def test_someone_else_is_measurably_less_like_the_rest(report: PhotoReport) -> None:
    stranger, own = verdict(report, "hopper.jpg").likeness, verdict(report, "good1.jpg").likeness
    assert stranger is not None and own is not None
    assert stranger < 0.6
    assert own == 1


def test_a_photo_of_the_person_with_less_light_is_no_duplicate(report: PhotoReport) -> None:
    assert sum(p.verdict is PhotoOutcome.DUPLICATE for p in report.photos) == 1


def test_the_order_of_the_files_changes_nothing(named: dict[str, Image], report: PhotoReport, vision: Vision) -> None:
    backwards = photos.report(list(reversed(named.items())), vision)
    assert backwards.to_mapping() == report.to_mapping()
    assert crops.select(backwards).to_mapping() == crops.select(report).to_mapping()


def test_the_report_is_json_and_a_picture(named: dict[str, Image], report: PhotoReport, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json", note="提示")
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data["taken"] == 6 and data["refused"] == 6 and data["note"] == "提示"
    assert {"name", "verdict", "reason", "likeness", "sharpness", "yaw"} <= set(data["photos"][0])
    drawn = photo_sheet.draw(report, named)
    assert drawn.shape[1] > 900 and drawn.std() > 20


# --- what needs no photograph ----------------------------------------------------------------------------------------


def person(who: int, place: int, size: tuple[int, int] = (320, 240), width: float = 90) -> Image:
    """A sharp picture with the face of ``who``; ``place`` makes it another picture."""
    return draw_face(blank(*size, gray=90 + 8 * place), (size[0] / 2 + 4 * place, size[1] / 2), width, who)


def judge(images: dict[str, Image], vision: Vision | None = None) -> dict[str, PhotoOutcome]:
    found = photos.report(list(images.items()), vision or FakeVision())
    return {p.name: p.verdict for p in found.photos}


@pytest.fixture
def any_sharpness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MIN_SHARPNESS", 0.0)


@pytest.mark.usefixtures("any_sharpness")
def test_the_majority_is_the_person_whatever_the_order() -> None:
    images = {f"{i}": person(20, i) for i in range(3)} | {"x": person(75, 4), "y": person(76, 5)}
    for names in itertools.islice(itertools.permutations(images), 0, 120, 17):
        verdicts = judge({n: images[n] for n in names})
        assert [n for n in sorted(verdicts) if verdicts[n].taken] == ["0", "1", "2"]
        assert verdicts["x"] is verdicts["y"] is PhotoOutcome.SOMEONE_ELSE


@pytest.mark.usefixtures("any_sharpness")
def test_few_photos_warn_and_do_not_stop() -> None:
    few = photos.report([(str(i), person(20, i)) for i in range(4)], FakeVision())
    assert len(few.taken) == 4 and "Only 4 good photos" in few.warnings[0]
    enough = photos.report([(str(i), person(20, i)) for i in range(5)], FakeVision())
    assert enough.warnings == ()


@pytest.mark.usefixtures("any_sharpness")
def test_a_face_that_fills_its_photo_is_taken_and_the_user_is_told() -> None:
    close = {f"close{i}.jpg": person(20, i, (150, 150), 100) for i in range(3)}
    found = photos.report([*close.items(), ("whole.jpg", person(20, 4))], FakeVision())
    assert {p.name: p.close for p in found.photos} == {**dict.fromkeys(close, True), "whole.jpg": False}
    assert all("fills the photo" in p.reason for p in found.photos if p.close)
    assert "The face fills 3 of 4 good photos: add some that show the whole head." in found.warnings
    mostly_whole = [("close0.jpg", close["close0.jpg"]), *((f"{i}.jpg", person(20, i)) for i in range(4, 7))]
    assert not any("fills" in warning for warning in photos.report(mostly_whole, FakeVision()).warnings)


@pytest.mark.usefixtures("any_sharpness")
def test_one_photo_is_a_report_too() -> None:
    single = photos.report([("only", person(20, 0))], FakeVision())
    assert single.photos[0].taken and single.photos[0].likeness is None


def test_no_photo_and_no_face_are_reports_too() -> None:
    assert photos.report([], FakeVision()).photos == ()
    report = photos.report([("a", blank(50, 50))], FakeVision())
    assert report.warnings == ("None of the photos can be used.",)
    with pytest.raises(Exception, match="a: no face"):
        crops.select(report)


@pytest.mark.thorough
def test_photos_that_lie_on_their_side_are_turned_upright(astronaut: Image, vision: Vision) -> None:
    """No EXIF says so: the face does, among upright photos of the person and alone."""
    good = portraits(astronaut, 3, 320)
    for quarters in (1, 2, 3):
        lying = np.ascontiguousarray(np.rot90(portraits(astronaut, 5, 320)[4], quarters))
        found = photos.report([*((f"{i}.jpg", g) for i, g in enumerate(good)), ("lying.jpg", lying)], vision)
        photo = verdict(found, "lying.jpg")
        assert photo.taken and photo.turned == 4 - quarters, photo.reason
        assert "turned upright" in photo.reason and photo.to_mapping()["turned"] == 90 * photo.turned
        (face,) = vision.detector.detect(photos.upright(lying, photo))
        assert photo.face is not None and np.abs(np.array(face.box) - photo.face.box).max() < 2
        assert all(p.turned == 0 for p in found.photos if p.name != "lying.jpg")


@pytest.mark.thorough
def test_a_photo_alone_that_lies_on_its_side_is_turned(grace_hopper: Image, vision: Vision) -> None:
    lying = np.ascontiguousarray(np.rot90(grace_hopper))
    assert photos.report([("lying.jpg", lying)], vision).photos[0].turned == 3
    assert photos.report([("upright.jpg", grace_hopper)], vision).photos[0].turned == 0


@pytest.mark.thorough
def test_a_dark_photo_is_dark_and_not_blurred(astronaut: Image, vision: Vision) -> None:
    first, second = portraits(astronaut, 1)[0], portraits(astronaut, 7)[6]
    dim, dark = ((first * share).astype(np.uint8) for share in (0.35, 0.12))
    soft = cv2.GaussianBlur(second, (0, 0), 4)
    found = photos.report(
        [("dim", dim), ("dark", dark), ("soft", soft), ("soft dim", (soft * 0.35).astype(np.uint8))], vision
    )
    assert verdict(found, "dark").verdict is PhotoOutcome.TOO_DARK, verdict(found, "dark").reason
    assert verdict(found, "dim").taken, verdict(found, "dim").reason
    assert verdict(found, "soft").verdict is PhotoOutcome.BLURRED
    assert verdict(found, "soft dim").verdict in (PhotoOutcome.BLURRED, PhotoOutcome.TOO_DARK)


@pytest.mark.thorough
@pytest.mark.parametrize("size", [(1500, 12_000), (3000, 12_000)])
def test_a_small_face_in_a_panorama_is_found(
    astronaut: Image, vision: Vision, tmp_path: Path, size: tuple[int, int]
) -> None:
    """A face of about 110 pixels, whatever the picture is brought to."""
    scene = np.repeat(np.linspace(90, 160, size[1])[None, :, None], size[0], 0).astype(np.uint8).repeat(3, 2)
    head = cv2.resize(astronaut[0:360, 50:410], (380, 380), interpolation=cv2.INTER_AREA)
    scene[700:1080, 8300:8680] = head
    pictures.save_jpg(tmp_path / "wide.jpg", scene)
    for area in (pictures.PHOTO_AREA, pictures.MAX_AREA):
        image = pictures.load(tmp_path / "wide.jpg", max_area=area)
        faces = vision.detector.detect(image)
        assert len(faces) == 1
        assert abs(faces[0].center[0] * size[1] / image.shape[1] - 8490) < 60


def test_a_training_calls_photos_what_the_user_called_them(tmp_path: Path, make_spec: SpecMaker) -> None:
    """The files in the person's folder have numbers; what is told has names, also where a photo can't be read."""
    paths = tuple(tmp_path / f"{i}.jpg" for i in range(3))
    for i, path in enumerate(paths[:2]):
        pictures.save_jpg(path, person(20, i))
    paths[2].write_bytes(b"no picture")
    names = ("landscape rocket.jpg", "照片.png", "broken one.webp")
    spec = TrainingSpec.from_json(replace(make_spec(), photos=paths, names=names).to_json())
    told: list[Event] = []
    training = Training(spec, tmp_path / "job", FakeVision(), told.append, lambda: False)
    look.choose(training)
    assert set(training[look.LoadedPhotos].images) == set(names[:2])
    assert any("broken one.webp is not a picture" in e.message for e in told if isinstance(e, Notice))
    report = json.loads((spec.person_folder / REPORT).read_text(encoding="utf-8"))
    assert {p["name"] for p in report["photos"]} == set(names[:2])
    assert [name for name, _ in replace(spec, names=()).named_photos] == ["0.jpg", "1.jpg", "2.jpg"]
