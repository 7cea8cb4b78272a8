"""Tests of the scale of likeness, wherever it is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from easyphoto import likeness
from easyphoto.api import wire
from easyphoto.cli.show import describe
from easyphoto.config import Paths
from easyphoto.events import Portrayed, Validated
from easyphoto.people import PeopleStore
from easyphoto.ports import Calibration, Likeness
from easyphoto.training import state, validation
from easyphoto.training.state import Score
from easyphoto.ui import chart, panel

CALIBRATION = Calibration(0.6, 0.05, 0.1, 0.05, "made up")


@pytest.mark.parametrize(
    ("score", "shown"), [(1.3, "1.00"), (-0.08, "0.00"), (-0.001, "0.00"), (0.874, "0.87"), (float("nan"), "0.00")]
)
def test_a_likeness_is_shown_from_0_to_1(score: float, shown: str) -> None:
    assert likeness.words(score) == shown
    assert panel.likeness_caption([score], "en").endswith(f" {shown}")
    assert f"likeness {shown} (cosine 0.000, arc)" in describe(
        Validated(step=1, likeness=score, cosine=-0.0001, embedder="arc")
    )
    assert f"likeness {shown}," in describe(Portrayed(path="a.png", likeness=(score,), embedder="arc"))
    assert f": {shown}</title>" in chart.curves([], [(1.0, score)], ("loss", "likeness", "step"), 2)
    out = wire.likeness_out(Likeness(-0.00001, score, "arc"))
    assert out is not None
    assert 0 <= out.score <= 1
    assert "-" not in json.dumps([out.score, out.cosine])


def test_what_was_calibrated_stays_on_the_scale_and_the_cosine_as_it_is() -> None:
    scores = [CALIBRATION.score(cosine) for cosine in np.linspace(-1, 1, 41)]
    assert min(scores) == 0 and max(scores) == 1
    assert scores == sorted(scores)
    assert CALIBRATION.score(CALIBRATION.cosine(0.3)) == pytest.approx(0.3)
    assert [CALIBRATION.unit(CALIBRATION.cosine(score)) for score in (-0.5, 0.3, 1.5)] == pytest.approx(
        [-0.5, 0.3, 1.5]
    )


def test_checkpoints_beyond_the_scale_keep_their_order() -> None:
    scores = {step: Score(step, CALIBRATION.score(c), c) for step, c in ((100, 0.7), (200, 0.8), (300, 0.75))}
    assert {s.likeness for s in scores.values()} == {1.0}
    assert [s.step for s in validation.ranked(scores)] == [200, 300, 100]


def test_the_chart_keeps_its_labels_inside_the_picture() -> None:
    drawn = chart.curves([(1, 0.00012), (50, 0.0001)], [(1, -0.08), (50, 1.3)], ("loss", "likeness", "step"), 50)
    labels = re.findall(r'class="likeness" x="[^"]+" y="[^"]+" text-anchor="start">([^<]+)<', drawn)
    assert labels == ["1", "0.5", "0"]
    for x, anchor, text in re.findall(r'<text[^>]* x="([^"]+)"[^>]*text-anchor="(\w+)">([^<]+)<', drawn):
        width = 7 * len(text)
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        assert left >= 0
        assert left + width <= chart.WIDTH
    heights = [float(y) for y in re.findall(r'cy="([^"]+)"', drawn)]
    assert all(4 <= y <= chart.HEIGHT - chart.BOTTOM + 4 for y in heights)


def test_a_person_of_an_older_training_is_on_the_scale(tmp_path: Path) -> None:
    paths = Paths.standalone(tmp_path)
    folder = paths.people / "anna"
    folder.mkdir(parents=True)
    paths.loras.mkdir(parents=True, exist_ok=True)
    (paths.loras / "anna.safetensors").write_bytes(b"lora")
    (folder / "ref_image.jpg").write_bytes(b"jpg")
    (folder / "person.json").write_text(json.dumps({"likeness": 1.3, "embedder": "arc"}))
    person = PeopleStore(paths).get("anna")
    assert person.likeness == 1.0
    assert wire.person_out(person).likeness == 1.0


def test_a_resumed_training_ranks_by_one_embedder_s_numbers(tmp_path: Path) -> None:
    scores = {
        0: Score(0, 0.1, 0.1),
        100: Score(100, 0.9, 0.8, embedder="old"),
        200: Score(200, 0.4, 0.3, embedder="new"),
    }
    state.save_scores(tmp_path, scores)
    kept = state.load_scores(tmp_path)
    assert kept == scores
    assert sorted(validation.measured_by("new", kept)) == [0, 200]
    assert sorted(validation.measured_by("", kept)) == [0, 100, 200]
