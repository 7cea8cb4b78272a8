"""Tests of the study's table: its numbers by hand, and what a study says of which nobody is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_table

from easyphoto.ports import Calibration

KNOWN = study_table.Ceilings(
    {"judge": (0.8, 0.8, 0.8), "reporter": (0.7, 0.7, 0.5)},
    {"judge": Calibration(0.8, 0.1, 0.0, 0.1, "made up"), "reporter": Calibration(0.7, 0.1, 0.3, 0.1, "made up")},
)


def person(accepted: bool, **rows: tuple[float, float]) -> dict[str, Any]:
    made: dict[str, Any] = {
        name.replace("_", " "): {"judge": judge, "reporter": reporter, "found": 0.5, "sharpness": 40.0}
        for name, (judge, reporter) in rows.items()
    }
    return {**made, "reward": {"accepted": accepted}}


def test_the_rows_are_in_units_and_the_differences_are_those_of_each_person() -> None:
    people = [
        person(True, no_LoRA=(0.0, 0.3), last=(0.4, 0.5), before=(0.48, 0.5)),
        person(False, no_LoRA=(0.0, 0.3), last=(0.0, 0.3), before=(0.08, 0.3)),
        person(False, no_LoRA=(0.4, 0.4), last=(0.8, 0.3), before=(0.88, 0.2)),
    ]
    told = list(study_table.lines(people, KNOWN))
    (last,) = (line for line in told if line.startswith("| last checkpoint |"))
    cells = [cell.strip() for cell in last.split("|")[2:]]
    assert cells[0].startswith("0.500 [") and cells[2].startswith("0.167 ["), "means over people, in units"
    assert cells[1].startswith(f"{(0.5 + 0 + 1) / 3:.0%} ["), "a share for each person, and then their mean"
    assert cells[4:6] == ["50%", "40"]
    (greedy,) = (line for line in told if line.startswith("| greedy fusion less last checkpoint |"))
    assert "| +0.100 [+0.100, +0.100] | 3 of 3 |" in greedy, "0.08 for each: the people differ, the pairs don't"
    assert "| -0.083 [" in greedy and "| 0 of 3 |" in greedy
    assert told[-1] == "The gate said yes to 1 of 3."
    assert not any("mean of all checkpoints" in line for line in told), "rows that the study hasn't are left out"
    assert "| their photos to one another (ceiling) | 1.000 [1.000, 1.000] | | 0.833 [" in "\n".join(told)


def test_what_a_person_gets_follows_the_gate() -> None:
    people = [
        person(True, no_LoRA=(0.0, 0.3), before=(0.4, 0.5), rewarded=(0.8, 0.6), as_long_without=(0.4, 0.5)),
        person(False, no_LoRA=(0.0, 0.3), before=(0.4, 0.5), rewarded=(0.8, 0.6), as_long_without=(0.4, 0.5)),
        person(False, no_LoRA=(0.0, 0.3), before=(0.4, 0.5), rewarded=(0.8, 0.6), as_long_without=(0.4, 0.5)),
    ]
    people[1]["reward"].update(gain=0.1, interval=[0.05, 0.15], minutes=7.2, why="the faces lost sharpness (80 → 60)")
    people[1]["rewarded"]["sharpness"] = 30.0
    told = list(study_table.lines(people, KNOWN))
    gate = "with the reward where the gate said yes, else without"
    (line,) = (line for line in told if line.startswith(f"| {gate} less greedy fusion |"))
    assert line.startswith(f"| {gate} less greedy fusion | +0.167 [") and "| 1 of 3 |" in line
    (both,) = (line for line in told if line.startswith("| with the reward, whatever the gate said less greedy"))
    assert "| +0.500 [+0.500, +0.500] | 3 of 3 |" in both and both.endswith("| -8% [-25, +0] |")
    assert "- +0.100 (+0.050 to +0.150): the faces lost sharpness (80 → 60)" in told
    assert "The reward with its gate took 7 to 7 minutes." in told


def test_people_of_several_folders_are_found_by_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 11):
        (tmp_path / f"person-{number}" / "photos").mkdir(parents=True)
    assert study_table.done(tmp_path) == []
    (tmp_path / "reward.json").write_text('[{"portrait": "a"}, {"portrait": "b"}]', encoding="utf-8")
    found = study_table.done(tmp_path)
    assert [(row["portrait"], photos.parent.name) for row, photos in found] == [("a", "person-9"), ("b", "person-10")]


def test_intervals_are_over_people() -> None:
    low, high = study_table.between(np.array([0.0, 0.0, 0.0, 1.0]))
    assert (low, high) == (0.0, 0.75)
    assert study_table.told(np.array([0.25])) == "0.250", "one person has no interval"


def test_a_study_of_which_nobody_is_done_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["study_table.py", str(tmp_path), "--models", str(tmp_path)])
    with pytest.raises(SystemExit, match="Nobody of the study is done yet"):
        study_table.main()
