"""Tests of the ways row: its table by hand, and that each way is one that the program knows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ways_row
from chain_sheet import Workshop
from ways_row import BARE, ONE, WAYS

from easyphoto import families
from easyphoto.config import Family, PortraitConfig, from_mapping

SCRIPT = Path(ways_row.__file__)


def row(who: str, on: str, way: str, judge: float | None, **more: Any) -> dict[str, Any]:
    measured = {"judge": judge, "reporter": judge, "sharpness": 80.0, "seconds": 5.0, "attempts": 1}
    return {"who": who, "on": on, "way": way, **measured, **more}


ROWS = [
    row("ann", "one", ONE, 0.5),
    row("ann", "two", ONE, 0.3),
    row("ann", "one", "best of 4", 0.7, attempts=4),
    row("ben", "one", ONE, 0.6),
    row("ben", "one", "best of 4", 0.5, attempts=2),
    row("eve", "one", ONE, None),
    row("eve", "one", "best of 4", 0.9, attempts=4),
]


def test_a_person_is_one_number_over_templates_that_both_ways_have() -> None:
    np.testing.assert_allclose(ways_row.over_people(ROWS, ONE, ONE, "judge"), [0.4, 0.6])
    np.testing.assert_allclose(ways_row.over_people(ROWS, ONE, "best of 4", "judge"), [0.5, 0.6])
    np.testing.assert_allclose(ways_row.over_people(ROWS, "best of 4", ONE, "judge"), [0.7, 0.5])


def test_the_table_tells_each_way_and_what_it_has_more() -> None:
    told = list(ways_row.lines(ROWS))
    (more,) = [line for line in told if "less" in line]
    assert more.startswith(f"| best of 4, less {ONE} | 2 | +0.050 [-0.100, +0.200] | ")
    assert more.endswith(" | +2.333 [+1.000, +3.000] |")
    assert told[-1] == "2 templates, 7 portraits, 1 without a face."


def test_several_attempts_are_also_compared_with_their_mean() -> None:
    rows = [*ROWS, row("ann", "one", ways_row.mean_of("best of 4"), 0.55), row("ben", "one", "fusion only", 0.2)]
    told = list(ways_row.lines(rows))
    (more,) = [line for line in told if line.startswith("| best of 4, less best of 4, an attempt of it | 1 |")]
    assert "+0.150" in more
    assert ways_row.mean([0.25, None, 0.75]) == 0.5 and ways_row.mean([None]) is None


def test_what_a_training_brings_stands_beside_what_it_costs() -> None:
    rows = [
        row("ann", "one", ONE, 0.5, making=100.0),
        row("ann", "one", ways_row.PLAIN, 0.2, making=4.0),
        row("ben", "one", ONE, 0.9, making=140.0),
        row("ben", "one", ways_row.PLAIN, 0.8, making=None),
        row("ann", "one", ways_row.mean_of("best of 4"), 0.4, making=100.0),
    ]
    told = list(ways_row.lines(rows))
    assert any(line.startswith(f"| {ONE}, less {ways_row.PLAIN} | 2 | +0.200 [+0.100, +0.300] |") for line in told)
    assert "To train a person took 120 s of the processor in the median of 2 (100 to 140)." in told
    assert "To add a person took 4 s of the processor in the median of 1 (4 to 4)." in told


def test_every_way_is_told_in_parameters_and_compared_with_another_of_its_kind() -> None:
    for way in WAYS.values():
        assert from_mapping(PortraitConfig, dict(way.changes)) is not None
        assert way.against is None or WAYS[way.against].trained is way.trained
    assert not WAYS[BARE].trained


def test_people_are_trained_by_the_defaults_of_their_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, tmp_path, None)
    asked: list[Any] = []
    monkeypatch.setattr(shop, "_photos", lambda file: tuple(tmp_path / f"{i}.png" for i in range(6)))
    monkeypatch.setattr(
        shop, "_service", SimpleNamespace(train=lambda request: SimpleNamespace(wait=lambda: asked.append(request)))
    )
    assert shop.person("faker/ann.jpg") == "ann"
    usual = families.spec(Family.BENCH).train_config()
    assert asked[0].config == replace(usual, validation=False)
    assert asked[0].config.steps(len(asked[0].photos)) == usual.max_train_steps


@pytest.mark.thorough
def test_a_table_is_printed_of_folders_that_are_there(tmp_path: Path) -> None:
    for name, rows in (("one", ROWS[:3]), ("two", ROWS[3:])):
        (tmp_path / name).mkdir()
        (tmp_path / name / ways_row.TABLE).write_text(json.dumps(rows))
    sent = [sys.executable, SCRIPT, "--table", tmp_path / "one", tmp_path / "two"]
    done = subprocess.run(sent, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(ways_row.lines(ROWS))


@pytest.mark.thorough
@pytest.mark.parametrize("missing", [["--people", "a.jpg"], ["--ways", "none", "--people", "a", "--templates", "b"]])
def test_what_is_missing_or_unknown_is_one_sentence(missing: list[str], tmp_path: Path) -> None:
    sent = [sys.executable, SCRIPT, "--work", tmp_path, "--models", tmp_path, *missing]
    done = subprocess.run(sent, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
