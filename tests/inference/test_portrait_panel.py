"""Tests of the panel of portraits: the numbers of real faces, computed again by hand from the vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.config import Family
from easyphoto.errors import HostFailed, VisionFailed
from easyphoto.inference import portrait_panel, score
from easyphoto.inference.gallery import main_face, remembered
from easyphoto.inference.portrait import portray
from easyphoto.inference.portrait_panel import PanelBook
from easyphoto.inference.task import Subject
from easyphoto.measures.onlookers import PersonPhotos
from easyphoto.ports import Embedding, Face, FaceEmbedder, Image, Likeness, Portrait, Txt2Img, Vision
from easyphoto.reporting import ReporterVector
from easyphoto.storage.folders import SEEN_PHOTOS, WEIGHTS
from easyphoto.vision import registry
from easyphoto.vision.reporters import EmbedderAsReporter
from easyphoto.vision.sharpness import sharpness
from tests.fakes import FakeHost, FakeVision, identity
from tests.inference.studio import config, person, task, template


class Sideways:
    """A second embedder: the judge's vectors, seen from another side. It counts what it looks at."""

    name = "sideways"

    def __init__(self, judge: FaceEmbedder) -> None:
        self.calibration, self.judge, self.looked = judge.calibration, judge, 0
        self.turn = np.linalg.qr(np.random.default_rng(5).normal(size=(128, 128)))[0][:, :40]

    def embed(self, image: Image, face: Face) -> Embedding:
        self.looked += 1
        found = self.judge.embed(image, face) @ self.turn
        unit: Embedding = (found / np.linalg.norm(found)).astype(np.float32)
        return unit


class Witnessed:
    """Vision with a reporter."""

    def __init__(self, vision: Vision) -> None:
        self._vision, self.other = vision, Sideways(vision.embedder)
        self.reporter = EmbedderAsReporter(self.other)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vision, name)

    def preferring(self, backends: object) -> Any:
        return self


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Vision:
    return registry.create(tmp_path_factory.mktemp("no-weights"))


def crops(astronaut: Image, count: int) -> list[Image]:
    """Crops of the photograph that differ in tilt, size and light."""
    head = cv2.resize(astronaut[0:360, 50:410], (256, 256), interpolation=cv2.INTER_AREA)
    made = []
    for i in range(count):
        matrix = cv2.getRotationMatrix2D((128, 102), (-1) ** i * 3 * i, 1.02 + 0.08 * i)
        turned = cv2.warpAffine(head, matrix, (256, 256), borderMode=cv2.BORDER_REFLECT)
        made.append(np.clip(turned * (0.7 + 0.15 * i), 0, 255).astype(np.uint8))
    return made


def eileen(folder: Path, astronaut: Image, vision: Any) -> Subject:
    paths = [folder / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, crops(astronaut, 3), strict=True):
        pictures.save_png(path, image)
    reference = folder / "ref_image.jpg"
    pictures.save_png(reference, astronaut)
    gallery = remembered([*paths, reference], folder / "embedding.json", vision)
    return Subject(user_id="eileen", lora=None, reference=astronaut, face_id=astronaut, gallery=gallery,
                   mean=gallery.mean, folder=folder)  # fmt: skip


def made_of(subject: Subject, on: Image, vision: Any, **more: Any) -> tuple[list[Portrait], dict[str, Any]]:
    book = PanelBook()
    job = task((on,), subject, family=Family.BENCH, config=config(**more))
    return list(portray(job, FakeHost(paint=identity), vision, panels=book)), book.told()


def seen(embedder: Any, image: Image, vision: Any, where: Face | None = None) -> np.ndarray:
    face = main_face(image, vision) if where is None else where
    part = (image, face) if where is None else score.find(image, face, vision)
    return np.asarray(embedder.embed(*part), np.float64)


@pytest.mark.thorough
def test_the_recipe_carries_the_values_of_both_embedders(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    eyes = Witnessed(vision)
    (portrait,), told = made_of(eileen(tmp_path, astronaut, eyes), grace_hopper, eyes)
    face = main_face(grace_hopper, vision)
    (entry,) = portrait.recipe["likeness"]
    assert portrait.likeness[0] is not None
    assert entry["cosine"] == portrait.likeness[0].cosine and entry["embedder"] == "dlib-resnet"
    own = [pictures.load(tmp_path / f"{i}.png") for i in range(3)]
    for kind, embedder in (("judge", vision.embedder), ("reporter", eyes.other)):
        row = entry[kind]
        photos = np.stack([seen(embedder, photo, vision) for photo in own])
        after = np.sort(photos @ seen(embedder, portrait.image, vision, face))  # three photos: without the nearest
        before = np.sort(photos @ seen(embedder, grace_hopper, vision))
        among = photos @ photos.T
        assert row["embedder"] == embedder.name and row["threshold"] == round(embedder.calibration.threshold, 4)
        assert row["value"] == pytest.approx(after[:-1].mean(), abs=1e-3)
        assert row["floor"] == pytest.approx(before[:-1].mean(), abs=1e-3)
        assert row["ceiling"] == pytest.approx(among[~np.eye(3, dtype=bool)].mean(), abs=1e-3)
        assert row["floor"] < row["value"]
    nearest = int((photos @ seen(eyes.other, portrait.image, vision, face)).argmax())
    assert entry["dominant_photo"] == f"{nearest}.png", "of one portrait: the photo that it is nearest to"
    part = score.find(portrait.image, face, vision)
    assert part is not None
    assert entry["sharpness"] == pytest.approx(sharpness(*part), rel=1e-3)
    assert told["eileen"]["judge"] == entry["judge"] and told["eileen"]["pictures"] == 1
    assert told["eileen"]["diversity"] is None
    json.dumps(portrait.recipe)


@pytest.mark.thorough
def test_the_panel_of_a_job_is_about_all_its_portraits_and_looks_at_nothing_twice(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    eyes = Witnessed(vision)
    subject = eileen(tmp_path, astronaut, eyes)
    portraits, told = made_of(subject, grace_hopper, eyes, batch_size=2)
    entries = [portrait.recipe["likeness"][0] for portrait in portraits]
    panel = told["eileen"]
    assert panel["pictures"] == 2 and panel["diversity"] is not None
    for kind in ("judge", "reporter"):
        assert panel[kind]["value"] == pytest.approx(np.mean([e[kind]["value"] for e in entries]), abs=2e-4)
        assert panel[kind]["floor"] == entries[0][kind]["floor"]
    assert eyes.other.looked == 3 + 1 + 2, "the photos, the template's face, and two portraits"
    made_of(subject, grace_hopper, eyes)
    assert eyes.other.looked == 6 + 1 + 1, "what the photos show was kept"


@pytest.mark.thorough
def test_what_the_training_saw_serves_and_likeness_is_measured_on_what_it_held_out(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    eyes = Witnessed(vision)
    rng = np.random.default_rng(1)
    mine, other = (rng.normal(size=(9, width)).astype(np.float32) for width in (128, 40))
    mine, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (mine, other))
    names = tuple(f"holiday {i}.jpg" for i in range(9))
    reported = tuple(ReporterVector(row, "sideways") for row in other)
    kept = PersonPhotos(names, 7, "dlib-resnet", tuple(mine), "sideways", reported)
    (tmp_path / WEIGHTS).mkdir()
    (tmp_path / WEIGHTS / SEEN_PHOTOS).write_text(json.dumps(kept.to_mapping()))
    (portrait,), told = made_of(eileen(tmp_path, astronaut, eyes), grace_hopper, eyes)
    face = main_face(grace_hopper, vision)
    vector = seen(vision.embedder, portrait.image, vision, face)
    assert told["eileen"]["held_out"] == ["holiday 7.jpg", "holiday 8.jpg"]
    assert told["eileen"]["judge"]["value"] == pytest.approx(float(np.mean(mine[7:] @ vector)), abs=1e-3)
    assert portrait.recipe["likeness"][0]["dominant_photo"] in names[:7]
    assert eyes.other.looked == 2, "no photo was looked at again"


@pytest.mark.thorough
def test_without_a_reporter_one_embedder_judges(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    (portrait,), told = made_of(eileen(tmp_path, astronaut, vision), grace_hopper, vision)
    assert told["eileen"]["reporter"] is None and told["eileen"]["proven"] is False
    assert portrait.recipe["likeness"][0]["judge"]["value"] == told["eileen"]["judge"]["value"]
    assert not (tmp_path / SEEN_PHOTOS).exists(), "what the judge sees is kept elsewhere"


@pytest.mark.thorough
@pytest.mark.parametrize(("profile", "missing", "left_out"), [(60.0, 1, 0), (0.0, 0, 1)])
def test_a_missing_face_is_a_failure_unless_the_template_is_in_profile(
    profile: float, missing: int, left_out: int, tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(score, "find", lambda *_: None)
    monkeypatch.setattr(portrait_panel, "PROFILE", profile)
    (portrait,), told = made_of(eileen(tmp_path, astronaut, vision), grace_hopper, vision)
    panel = told["eileen"]
    assert portrait.recipe["likeness"] == [None]
    assert (panel["pictures"], panel["missing"], panel["not_applicable"]) == (1, missing, left_out)
    stranger = vision.embedder.calibration.stranger_mean
    assert panel["judge"]["value"] == (round(stranger, 4) if missing else None)


def test_a_reporter_that_breaks_costs_the_panel_and_no_portrait(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(image: Image, face: Face) -> None:
        raise VisionFailed("The reporter is gone.")

    eyes, said = Witnessed(vision), list[str]()
    monkeypatch.setattr(eyes.reporter, "witness", broken)
    job = task((grace_hopper,), eileen(tmp_path, astronaut, eyes), family=Family.BENCH)
    found = portray(job, FakeHost(paint=identity), eyes, lambda event: said.append(str(getattr(event, "message", ""))))
    (portrait,) = found
    assert isinstance(portrait.likeness[0], Likeness) and "judge" not in portrait.recipe["likeness"][0]
    assert "The likeness panel failed and was left out: The reporter is gone." in said


def test_the_words_are_those_of_what_was_made(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    subject, none = eileen(tmp_path, astronaut, vision), {"apply_face_fusion_before": False}
    left = made_of(subject, grace_hopper, vision, **none, apply_face_fusion_after=False)[1]["eileen"]
    assert left["word"] == "looks like the template", "nothing of the person went in"
    shown = made_of(subject, pictures.load(tmp_path / "1.png"), vision, **none, apply_face_fusion_after=False)
    assert shown[1]["eileen"]["word"] == "copies a photo" and shown[1]["eileen"]["dominant_photo"] == "1.png"


@pytest.mark.thorough
def test_the_floor_is_drawn_without_the_person_where_it_is_asked_for(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    lora = tmp_path / "eileen.safetensors"
    lora.write_bytes(b"the LoRA of eileen")
    subject = replace(eileen(tmp_path, astronaut, vision), lora=lora)
    made, told, hosts = {}, {}, {}
    for asked in (False, True):
        book, hosts[asked] = PanelBook(), FakeHost(paint=identity)
        job = task((grace_hopper,), subject, family=Family.BENCH, config=config(measure_floor=asked))
        (made[asked],) = portray(job, hosts[asked], vision, panels=book)
        told[asked] = book.told()["eileen"]
    assert [bool(job.loras) for job in hosts[True].jobs] == [True, True, False, False]
    assert [job.seed for job in hosts[True].jobs[2:]] == [job.seed for job in hosts[True].jobs[:2]]
    assert np.array_equal(made[True].image, made[False].image), "the portrait is the same"
    assert (told[False]["floor_of"], told[True]["floor_of"]) == ("template", "without the LoRA")
    row, entry = told[True]["judge"], made[True].recipe["likeness"][0]
    assert entry["judge"]["floor"] == row["floor"] and entry["floor_of"] == "without the LoRA"
    assert row["value"] == told[False]["judge"]["value"] and row["floor"] < row["value"]
    assert row["floor"] == pytest.approx(told[False]["judge"]["floor"], abs=0.15), "the host gave the template back"


def test_a_floor_that_cannot_be_drawn_costs_no_portrait(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    def broken(job: Txt2Img) -> None:
        if not job.loras:
            raise HostFailed("The host is gone.")

    said = list[str]()
    lora = tmp_path / "eileen.safetensors"
    lora.write_bytes(b"the LoRA of eileen")
    subject = replace(eileen(tmp_path, astronaut, vision), lora=lora)
    book, host = PanelBook(), FakeHost(paint=identity, before=broken)
    job = task((grace_hopper,), subject, family=Family.BENCH, config=config(measure_floor=True))
    (portrait,) = portray(job, host, vision, lambda e: said.append(str(getattr(e, "message", ""))), panels=book)
    assert portrait.likeness[0] is not None
    assert book.told()["eileen"]["judge"]["floor"] is None, "the template's own face doesn't stand in for it"
    assert "The floor failed and was left out: The host is gone." in said


@pytest.mark.thorough
def test_a_face_that_the_floor_lacks_is_a_strangers(
    tmp_path: Path, astronaut: Image, grace_hopper: Image, vision: Vision
) -> None:
    def paint(job: Txt2Img) -> Image:
        return identity(job) if job.loras else np.full_like(identity(job), 90)

    lora = tmp_path / "eileen.safetensors"
    lora.write_bytes(b"the LoRA of eileen")
    subject, book = replace(eileen(tmp_path, astronaut, vision), lora=lora), PanelBook()
    job = task((grace_hopper,), subject, family=Family.BENCH, config=config(measure_floor=True))
    list(portray(job, FakeHost(paint=paint), vision, panels=book))
    assert book.told()["eileen"]["judge"]["floor"] == round(vision.embedder.calibration.stranger_mean, 4)


def test_nobody_is_compared_who_has_no_photos(tmp_path: Path) -> None:
    book = PanelBook()
    (portrait,) = portray(task((template(10),), person(tmp_path)), FakeHost(), FakeVision(), panels=book)
    assert book.told() == {} and set(portrait.recipe["likeness"][0]) == {"cosine", "score", "embedder"}
