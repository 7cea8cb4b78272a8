"""Tests of the people row: its numbers by hand, what it holds out, and a whole run on small folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import people_row
import pytest

from easyphoto import pictures
from easyphoto.measures.onlookers import Onlooker
from easyphoto.ports import Calibration, Face, Image
from easyphoto.training import samples
from easyphoto.vision import registry
from tests.conftest import packaged

CALIBRATION = Calibration(0.8, 0.1, 0.2, 0.1, "made up", far_1=0.5)
FACE = Face((0, 0, 4, 4), np.zeros((5, 2), np.float32))


def at(degrees: float) -> tuple[Image, Face]:
    """A picture whose face lies at an angle in a plane."""
    return np.full((4, 4, 3), degrees, np.uint8), FACE


def eye() -> Onlooker[Any]:
    def describe(image: Image, face: Face) -> np.ndarray:
        turn = np.radians(float(image[0, 0, 0]))
        return np.array([np.cos(turn), np.sin(turn)])

    return Onlooker("plane", CALIBRATION, describe, lambda a, b: float(a @ b))


def cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def test_a_person_is_measured_to_the_photos_that_were_held_out() -> None:
    shown = [at(0), at(20), at(50)]  # the last was held out
    made = {"with": [{"a": at(40)}, {}], "without": [{"a": at(110), "b": at(140)}, {"a": at(110), "b": at(140)}]}
    row = people_row.person_row(eye(), shown, 2, made, templates=2)
    assert row.values == pytest.approx(((cos(10) + 0.2) / 2, 0.2)), "a missing face is a stranger's"
    assert row.floors == pytest.approx(((cos(60) + cos(90)) / 2,) * 2)
    assert row.ceiling == pytest.approx((cos(50) + cos(30)) / 2)
    assert row.copying == pytest.approx(((10 - 20) / 30,))


def test_the_row_is_in_units_of_the_calibration_and_counts_people() -> None:
    people = [
        people_row.PersonRow((0.5, 0.7), (0.2, 0.2), (0.1,), 0.8),
        people_row.PersonRow((0.3, 0.3), (0.4, 0.4), (), 0.8),
        people_row.PersonRow((0.8,), (0.2,), (0.5,), 0.8),
    ]
    row = people_row.summed_up(eye(), people)
    assert row["value"]["median"] == pytest.approx((0.6 - 0.2) / 0.6, abs=1e-4)
    assert row["floor"]["median"] == 0.0 and row["ceiling"]["median"] == 1.0
    assert row["threshold"] == pytest.approx(0.5)
    assert row["way"]["median"] == pytest.approx((0.6 - 0.2) / 0.6, abs=1e-4)
    assert row["higher_for"] == "2 of 3" and row["above_threshold"] == "2 of 3"
    apart = row["seeds_apart"]
    assert apart["people"] == 2 and apart["median"] == pytest.approx((0.2 / 0.6 + 0) / 2, abs=1e-4)
    assert apart["interval"] == pytest.approx([0, 0.2 / 0.6], abs=1e-4)
    assert row["gain"]["median"] == pytest.approx(0.4 / 0.6, abs=1e-4)
    assert row["seeds_apart_of_gain"] == pytest.approx((0.2 / 0.6 / 2) / (0.4 / 0.6), abs=1e-3)
    assert row["copying"]["median"] == pytest.approx(0.3)
    low, high = row["gain"]["interval"]
    assert low <= row["gain"]["median"] <= high
    once = people_row.summed_up(eye(), people[2:])
    assert once["seeds_apart"] is None and once["seeds_apart_of_gain"] is None, "nobody was trained twice"


def folders(root: Path) -> None:
    """One person of six photos, one of two, and two templates of which one has no face."""
    astronaut = pictures.load(packaged("skimage", "data", "astronaut.png"))
    hopper = pictures.load(packaged("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg"))
    head = astronaut[0:360, 50:410]
    for i in range(6):
        turn = cv2.getRotationMatrix2D((180, 150), (-1) ** i * 2 * i, 1.0 + 0.05 * i)
        photo = cv2.warpAffine(head, turn, (360, 360), borderMode=cv2.BORDER_REFLECT)
        pictures.save_png(root / "people" / "eileen" / f"{i}.png", photo)
        if i < 2:
            pictures.save_png(root / "people" / "two" / f"{i}.png", photo)
    pictures.save_png(root / "templates" / "a.png", hopper)
    pictures.save_png(root / "templates" / "b.png", np.full((90, 90, 3), 90, np.uint8))


@pytest.mark.thorough
def test_what_is_prepared_is_all_that_the_training_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders(tmp_path)
    vision = registry.create(tmp_path / "no weights")
    out = tmp_path / "work" / "prepared"
    people_row.prepare(tmp_path / "people", tmp_path / "templates", out, vision)
    index = json.loads((out / "index.json").read_text())
    assert index["templates"] == ["a.png"] and set(index["people"]) == {"eileen"}
    about = index["people"]["eileen"]
    assert len(about["held_out"]) == 2 and len(about["trained"]) == 4
    assert not set(about["held_out"]) & set(about["trained"])
    assert "two is left out: a face was found in 2 photos, and 3 are needed." in capsys.readouterr().out
    given, _ = samples.load(out / "people" / "eileen")
    assert [one.image.shape for one in given] == [(256, 256, 3)] * 4
    assert all(one.face is not None and 0.1 < one.face.mean() < 0.6 for one in given), "a training asks where it is"
    scene = people_row.read_scene(out / "templates", 0)
    assert scene.image.shape == (256, 256, 3) and 0.1 < scene.mask.mean() < 0.6
    for i in range(6):  # other names
        (tmp_path / "people" / "eileen" / f"{i}.png").rename(tmp_path / "people" / "eileen" / f"{9 - i}.png")
    again = people_row.faces_of(people_row.listed(tmp_path / "people" / "eileen"), vision)
    renamed = {f"{9 - int(name[0])}.png" for name in about["held_out"]}
    assert set(people_row.held_out(again)) == renamed, "by content, whatever they are called"


@pytest.mark.slow
def test_the_stages_run_one_by_one(tmp_path: Path) -> None:
    folders(tmp_path)
    script = [sys.executable, str(Path(people_row.__file__)), "--work", str(tmp_path / "work"), "--steps", "2"]
    people = ["--people", str(tmp_path / "people"), "--models", str(tmp_path / "none")]
    where = ["--templates", str(tmp_path / "templates")]
    for stage in (["--stage", "prepare", *people, *where], ["--stage", "train"], ["--stage", "judge", *people]):
        subprocess.run([*script, *stage], check=True, capture_output=True)
    row = json.loads((tmp_path / "work" / "people_row.json").read_text())
    assert (row["people"], row["templates"], row["seeds"]) == (1, 1, 2) and "reporter" not in row
    assert row["judge"]["embedder"] == "dlib-resnet" and row["judge"]["ceiling"]["median"] > row["judge"]["threshold"]
    assert (tmp_path / "work" / "people.jpg").is_file()
