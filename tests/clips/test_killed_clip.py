"""A program that is killed with SIGKILL in the midst of a clip goes on behind the last whole frame, and the file is the
same as without the kills."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from easyphoto.clips import encoding
from easyphoto.clips.encoding import Writing
from easyphoto.config import Paths
from tests.clips.clip_program import JOB, main
from tests.core.test_service import add_person
from tests.fakes import blank, draw_face

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")]
ROOT = Path(__file__).resolve().parents[2]
FRAMES = 16


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = [draw_face(blank(240, 160), (80 + 4 * i, 80), 48, who=45) for i in range(FRAMES)]
    encoding.write(tmp_path / "walk.gif", frames, Writing(Fraction(10)))
    return tmp_path / "walk.gif"


def begun(data: Path, clip: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"{main.__module__}", str(data), str(clip)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[Path, int]:
    """The clip, and how many passes the program did."""
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    path, passes = said.strip().rsplit(" ", 1)
    return Path(path), int(passes)


def test_a_clip_that_was_killed_twice_is_the_same_file(tmp_path: Path, clip: Path) -> None:
    start = tmp_path / "start"
    add_person(Paths.standalone(start), "ann", who=60)
    data = tmp_path / "killed"
    shutil.copytree(start, data)
    undisturbed, passes = ended(begun(start, clip))
    assert passes == 2 * FRAMES

    workshop = Paths.standalone(data).videos / f".{JOB}"
    for least in (4, 9):
        process = begun(data, clip)
        deadline = time.monotonic() + 90
        while len(list(workshop.glob("0*.png"))) < least:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.communicate()
    made, passes = ended(begun(data, clip))
    assert 2 <= passes <= 2 * (FRAMES - 9), "only what was missing is made"
    assert made.name == undisturbed.name and made.read_bytes() == undisturbed.read_bytes()
    ours, theirs = (path.with_name(f"{path.name}.json").read_bytes() for path in (made, undisturbed))
    assert ours == theirs
    assert sorted(path.name for path in made.parent.iterdir()) == sorted(
        path.name for path in undisturbed.parent.iterdir()
    )
