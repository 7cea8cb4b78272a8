"""The shipped checkpoint on a few held-out portraits, by the script that measures all of them.

The portraits are not part of the project: EASYPHOTO_PORTRAITS names their folder (with its captions.csv), or they lie
in `shared/portraits` beside the checkout. Without them these tests skip.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchkit import PORTRAITS

FOLDER = Path(os.environ.get("EASYPHOTO_PORTRAITS", PORTRAITS))
TOOLS = Path(__file__).resolve().parents[2] / "tools" / "bench"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "captions.csv").is_file(), reason="no portraits: EASYPHOTO_PORTRAITS names their folder"
)


def evaluated(work: Path, rows: str) -> dict[str, Any]:
    """These rows of the evaluation on eight held-out portraits."""
    for script, options in (
        ("pack.py", ["--portraits", FOLDER, "--held", 10, "--out", work / "few.npz"]),
        ("evaluate.py", ["--pack", work / "few.npz", "--out", work, "--limit", 8, "--rows", rows]),
    ):
        command = [sys.executable, str(TOOLS / script), *(str(option) for option in options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1100, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        print(done.stdout)
    result: dict[str, Any] = json.loads((work / "evaluation.json").read_text(encoding="utf-8"))
    return result


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All rows that the tests below look at: minutes of CPU, and many more by the clock where cores are shared."""
    return evaluated(tmp_path_factory.mktemp("evaluation"), "vae,enlarged,controls")


@pytest.mark.thorough
@pytest.mark.timeout(1200)
def test_the_vae_keeps_pictures_and_people(tmp_path: Path) -> None:
    row = evaluated(tmp_path, "vae")["vae"]
    assert row["pairs"] == 8 and row["face_found"] == 1
    assert row["psnr_db"] > 28.5
    assert row["median_distance"] < 0.35


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_people_are_kept_better_at_the_sizes_of_the_chain(measured: dict[str, Any]) -> None:
    row = measured["enlarged"]
    assert row["vae"]["distance_under_0.35"] >= measured["vae"]["distance_under_0.35"]
    assert row["vae"]["median_distance"] <= measured["vae"]["median_distance"]
    assert row["img2img"]["face_found"] >= 0.75


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_controls_keep_the_person(measured: dict[str, Any]) -> None:
    row = measured["controls"]
    assert row["face_found"] >= 0.75
    assert row["closer_than_without"] >= 0.6
    assert row["median_distance"] < 0.6
