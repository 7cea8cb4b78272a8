"""Test that a calibration comes out of the script again, from pictures that installed packages contain.

When a change of the numbers is meant, write the record again and read the difference:

    EASYPHOTO_WRITE_GOLDEN=1 python -m pytest tests/weights/test_calibration_tool.py && git diff tests/weights/recorded
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.ports import Image
from easyphoto.vision import geometry, registry

ROOT = Path(__file__).resolve().parents[2]
NAME = "calibration-dlib-resnet.json"
RECORD = Path(__file__).parent / "recorded" / NAME


def crops(head: Image) -> Iterator[Image]:
    """Three crops of a photograph: turned, zoomed, lighter and darker."""
    side = head.shape[0]
    for i in range(3):
        turn = cv2.getRotationMatrix2D((side / 2, side * 0.4), (-1) ** i * 4 * i, 1.02 + 0.06 * i)
        turned = cv2.warpAffine(head, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
        yield np.clip(turned * (0.8 + 0.1 * i), 0, 255).astype(np.uint8)


@pytest.fixture
def folders(tmp_path: Path, astronaut: Image, grace_hopper: Image, six_people: Image) -> Path:
    faces = registry.create(tmp_path / "none").detector.detect(six_people)
    for i, face in enumerate(faces):
        part = geometry.cut(six_people, geometry.face_crop(face, 1.7, six_people.shape[:2]))
        pictures.save_png(tmp_path / "strangers" / f"{i}.png", part)
    for name, head in (("eileen", astronaut[0:360, 50:410]), ("grace", grace_hopper[0:480, 20:500])):
        for i, image in enumerate(crops(head)):
            pictures.save_png(tmp_path / "people" / name / f"{i}.png", image)
    return tmp_path


def measured(folders: Path, out: str) -> dict[str, Any]:
    """What the script writes."""
    script = [sys.executable, str(ROOT / "tools" / "calibrate_likeness.py"), str(folders / "strangers")]
    given = ["--same", str(folders / "people"), "--models", str(folders / "none"), "--out", str(folders / out)]
    done = subprocess.run([*script, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dlib-resnet, same: 6 pairs of 6 photos of 2 people" in done.stdout
    found: dict[str, Any] = json.loads((folders / out / NAME).read_text(encoding="utf-8"))
    return found


def numbers(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from numbers(inside, f"{at}/{key}")
    else:
        yield at, value


@pytest.mark.thorough
def test_a_calibration_comes_out_again(folders: Path) -> None:
    first, second = dict(numbers(measured(folders, "a"))), dict(numbers(measured(folders, "b")))
    assert first == second, "two runs on one machine"
    if os.environ.get("EASYPHOTO_WRITE_GOLDEN"):
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text((folders / "a" / NAME).read_text(encoding="utf-8"), encoding="utf-8")
    recorded = dict(numbers(json.loads(RECORD.read_text(encoding="utf-8"))))
    assert first.keys() == recorded.keys()
    for at, value in recorded.items():
        assert first[at] == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value), at
    assert first["/strangers/pairs"] == 15 and first["/across/pairs"] == 9
    vision = registry.create(folders / "none")
    files = sorted((folders / "strangers").iterdir())
    images = [pictures.load(path) for path in files]
    vectors = np.stack([vision.embedder.embed(image, vision.detector.detect(image)[0]) for image in images])
    apart = np.sort((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)])
    assert first["/strangers/mean"] == pytest.approx(apart.mean(), abs=1e-3)
    assert first["/thresholds/far_1"] == pytest.approx(apart[-2] + 0.86 * (apart[-1] - apart[-2]), abs=1e-3)
