"""Tests of ``tools/gpu_check.py`` as it is started on a borrowed machine: whatever a part meets, its results stay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Run the check of ``machine`` on the processor: its exit status, its results and what it said."""
    command = [sys.executable, "tools/gpu_check.py", str(folder), "--tiny", "--only", "machine", *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads((folder / "results.json").read_text(encoding="utf-8")), done.stdout


@pytest.mark.thorough
@pytest.mark.timeout(120)
def test_a_part_leaves_its_numbers(tmp_path: Path) -> None:
    status, results, said = check(tmp_path, "--device", "cpu")
    assert status == 0 and "all parts ran" in said
    assert results["machine"]["result"]["tflops_float32"] >= 0
    assert results["machine"]["result"]["packages"]["torch"]


@pytest.mark.thorough
@pytest.mark.timeout(120)
def test_a_part_that_fails_leaves_its_traceback(tmp_path: Path) -> None:
    status, results, said = check(tmp_path, "--device", "nowhere")
    assert status == 1 and "failed: machine" in said
    assert "Traceback" in results["machine"]["error"] and "nowhere" in results["machine"]["error"]


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    status, results, _ = check(tmp_path, "--device", "cpu", "--seconds", "0")
    assert status == 1 and "not begun" in results["machine"]["error"]


@pytest.mark.timeout(120)
def test_a_process_that_dies_takes_only_its_own_part_along(tmp_path: Path) -> None:
    """Each child ends with status 9 before its first part, as one that the system kills."""
    broken = tmp_path / "broken"
    for folder in ("tools", "benchmarks"):
        (broken / folder).mkdir(parents=True)
    source = ROOT / "tools" / "gpu_check.py"
    (broken / "tools" / "gpu_check.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (broken / "benchmarks" / "card.py").write_text("import os; os._exit(9)", encoding="utf-8")
    command = [sys.executable, "tools/gpu_check.py", str(tmp_path / "out"), "--only", "machine", "tests"]
    done = subprocess.run(command, cwd=broken, capture_output=True, text=True, check=False)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert done.returncode == 1 and set(results) == {"machine", "tests"}
    assert all("status 9" in value["error"] for value in results.values())
