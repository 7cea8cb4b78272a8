"""The portraits of a job are found again after a restart, whatever the clock did meanwhile."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.storage import portraits
from tests.storage import somebody


def portrait(folder: Path, name: str, job: str, at: float) -> Path:
    path = folder / name
    pictures.save_png(path, somebody.grey(99), {portraits.CHUNK: json.dumps({"job": job, "format": 1})})
    os.utime(path, (at, at))
    return path


@pytest.mark.parametrize("back", [0.0, 7200.0])
def test_what_a_job_made_is_found_though_the_clock_was_put_back(tmp_path: Path, back: float) -> None:
    """``back``: by how many seconds the clock was put back after the job had been queued."""
    now = time.time()
    queued = now - 10 + back
    mine = portrait(tmp_path, "a.png", "mine", now)
    portrait(tmp_path, "b.png", "other", now)
    assert [path for path, _ in portraits.of_job(tmp_path, "mine", queued)] == [mine]
    assert [path for path, _ in portraits.of_job(tmp_path, "nobody's", queued)] == []
