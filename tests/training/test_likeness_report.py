"""Tests of the panel of a training: the numbers of real pictures, computed again by hand from the vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.errors import VisionFailed
from easyphoto.events import Event, Notice
from easyphoto.ports import Embedding, Face, Image, Vision
from easyphoto.training import crops, likeness_report, photos
from easyphoto.training.state import Score
from easyphoto.training.validation import ValidationTemplate
from easyphoto.vision.reporters import EmbedderAsReporter
from tests.training.conftest import portraits


class Otherwise:
    """A second embedder: the first one's vectors, seen from another side."""

    name = "otherwise"

    def __init__(self, vision: Vision) -> None:
        self.calibration = vision.embedder.calibration
        self._vision = vision
        self._turn = np.linalg.qr(np.random.default_rng(5).normal(size=(128, 128)))[0][:, :40]

    def embed(self, image: Image, face: Face) -> Embedding:
        found = self._vision.embedder.embed(image, face) @ self._turn
        unit: Embedding = (found / np.linalg.norm(found)).astype(np.float32)
        return unit


class Shown:
    """Three photos of one person, two pictures of a LoRA and one of the base model without a face."""

    def __init__(self, folder: Path, astronaut: Image, vision: Vision, *, reporter: bool) -> None:
        shown = portraits(astronaut, 5)
        named = [(f"{i}.png", folder / f"{i}.png") for i in range(3)]
        for (_, path), image in zip(named, shown, strict=False):
            pictures.save_png(path, image)
        made, self.base = [folder / "a.png", folder / "b.png"], folder / "base.png"
        for path, image in zip(made, shown[3:], strict=True):
            pictures.save_png(path, image)
        pictures.save_png(self.base, np.full((64, 64, 3), 90, np.uint8))
        self.vision = vision
        self.other = Otherwise(vision)
        seen = SimpleNamespace(detector=vision.detector, embedder=vision.embedder)
        if reporter:
            seen.reporter = EmbedderAsReporter(self.other)
        self.report = photos.report([(name, pictures.load(path)) for name, path in named], vision)
        self.selection = crops.select(self.report)
        self.events: list[Event] = []
        self.training: Any = SimpleNamespace(
            vision=seen,
            spec=SimpleNamespace(named_photos=named),
            notice=lambda message: self.events.append(Notice(message=message)),
        )
        template = ValidationTemplate(shown[0], np.ones(shown[0].shape[:2], np.float32), "template")
        self.templates = [template, template]
        self.made = made
        self.score = Score(4, 0.5, 0.5, tuple(map(str, made)), (0.5, 0.5), "dlib-resnet")
        self.floor = Score(0, 0.0, 0.0, (str(self.base),), (0.0,), "dlib-resnet")

    def panel(self) -> Any:
        return likeness_report.measure(self.training, self.selection, self.templates, self.score, self.floor)


def vectors(embedder: Any, vision: Vision, images: list[Image]) -> np.ndarray:
    return np.array([embedder.embed(image, vision.detector.detect(image)[0]) for image in images], np.float64)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, astronaut: Image, vision: Vision) -> Shown:
    return Shown(tmp_path_factory.mktemp("panel"), astronaut, vision, reporter=True)


@pytest.mark.thorough
def test_the_numbers_of_both_embedders_are_those_that_a_hand_computes(shown: Shown) -> None:
    panel = shown.panel()
    told = {photo.name: photo for photo in shown.selection.training}
    own = [pictures.load(path) for name, path in shown.training.spec.named_photos if name in told]
    made = [pictures.load(path) for path in shown.made]
    for row, embedder in ((panel.judge, shown.vision.embedder), (panel.reporter, shown.other)):
        photos_of, portraits_of = vectors(embedder, shown.vision, own), vectors(embedder, shown.vision, made)
        cosines = np.sort(portraits_of @ photos_of.T, axis=1)[:, :-1]  # fewer than eight photos: without the nearest
        assert row.embedder == embedder.name
        assert row.value == pytest.approx(cosines.mean(), abs=1e-5)
        assert row.floor == pytest.approx(embedder.calibration.stranger_mean)
        among = photos_of @ photos_of.T
        assert row.ceiling == pytest.approx(among[~np.eye(len(own), dtype=bool)].mean(), abs=1e-5)
        assert row.threshold == embedder.calibration.threshold
    assert panel.held_out == () and panel.counts.pictures == 2 and panel.counts.missing == 0
    assert panel.sharpness is not None and panel.diversity is not None and panel.copying is not None
    assert panel.dominant_photo in (*told, "")


def test_without_a_reporter_the_panel_has_one_row(tmp_path: Path, astronaut: Image, vision: Vision) -> None:
    panel = Shown(tmp_path, astronaut, vision, reporter=False).panel()
    assert panel.reporter is None and not panel.proven
    assert panel.judge.value is not None and panel.copying is not None


def test_a_picture_without_a_face_is_missing_unless_its_template_is_in_profile(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures_of = (str(shown.made[0]), str(shown.base))
    monkeypatch.setattr(shown, "score", replace(shown.score, pictures=pictures_of))
    counts = shown.panel().counts
    assert (counts.pictures, counts.missing, counts.not_applicable) == (2, 1, 0)
    monkeypatch.setattr(likeness_report, "PROFILE", 0.0)  # any template is turned that far
    counts = shown.panel().counts
    assert (counts.pictures, counts.missing, counts.not_applicable) == (2, 0, 1)


@pytest.mark.parametrize("fault", [VisionFailed("The reporter is gone."), RuntimeError("The reporter is gone.")])
def test_a_panel_that_fails_is_a_notice_and_loses_nothing(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(image: Image, face: Face) -> None:
        raise fault

    shown.events.clear()
    monkeypatch.setattr(shown.training.vision.reporter, "witness", broken)
    found = likeness_report.panel(shown.training, shown.selection, shown.templates, shown.score, shown.floor)
    assert found is None
    assert [e.message for e in shown.events if isinstance(e, Notice)] == [
        "The likeness panel was left out: The reporter is gone."
    ]
