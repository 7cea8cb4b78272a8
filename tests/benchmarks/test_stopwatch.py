"""Tests of ``benchmarks.stopwatch``: what it writes down about a script that it doesn't change."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import stopwatch

SCRIPT = """
import sys, torch
steps = int(sys.argv[1])
layer, frozen = torch.nn.Linear(3, 2), torch.nn.Linear(5, 5)
optimizer = torch.optim.AdamW([*layer.parameters(), *frozen.requires_grad_(False).parameters()], lr=1e-3)
for _ in range(steps):
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
sys.exit(0)
"""


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int, *options: str) -> dict[str, Any]:
    script, result = folder / "train.py", folder / "result.json"
    script.write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert stopwatch.main([*options, str(result), str(script), str(steps)]) == 0
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def test_steps_after_the_first_two_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(tmp_path, monkeypatch, 5)
    assert found["steps"] == 3 and len(found["cpu_each"]) == 4
    assert found["cpu_spread"] == [min(found["cpu_each"][1:]), max(found["cpu_each"][1:])]
    assert watched(tmp_path, monkeypatch, 5, "--warm", "1")["steps"] == 4


def test_what_has_a_gradient_counts_once_as_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(tmp_path, monkeypatch, 4)["trained_numbers"] == 3 * 2 + 2
    # The next script of the same process starts at nothing.
    assert watched(tmp_path, monkeypatch, 1) | {"peak_bytes": 0} == {
        "steps": 0,
        "cpu_seconds": None,
        "cpu_spread": None,
        "cpu_each": [],
        "wall_seconds": None,
        "peak_bytes": 0,
        "trained_numbers": 8,
    }


def test_ratio_has_the_spread_and_both_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    for file, middle, spread, numbers in ((ours, 3.0, [2.0, 4.0], 1000), (theirs, 4.0, [4.0, 5.0], 2000)):
        file.write_text(
            json.dumps({"cpu_seconds": middle, "cpu_spread": spread, "trained_numbers": numbers}), encoding="utf-8"
        )
    assert stopwatch.main(["--ratio", str(ours), str(theirs)]) == 0
    assert capsys.readouterr().out == "0.75 (0.40 to 1.00), 1,000 and 2,000 trained numbers\n"
    assert stopwatch.main(["--ratio", str(ours)]) == 2
