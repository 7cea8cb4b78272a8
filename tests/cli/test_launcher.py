"""Tests of ``easyphoto.sh``: it starts from any folder and through links, and a path that you give is relative to the
folder you are in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a bash script")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the launcher beside a link to the package, whose environment is already made: it borrows ours."""
    program = tmp_path / "Zoé's (x86) 环境 😀"
    program.mkdir()
    for name in ("easyphoto.sh", "run.py", *(p.name for p in PROJECT.glob("requirements*.txt"))):
        shutil.copy(PROJECT / name, program / name)
    (program / "easyphoto").symlink_to(PROJECT / "easyphoto")
    venv.create(program / ".venv", with_pip=False)
    (site,) = (program / ".venv").glob("lib/python*/site-packages")
    ours = [p for p in sys.path if p.endswith("site-packages")]
    (site / "ours.pth").write_text("\n".join(ours))
    wanted = subprocess.run("cat requirements*.txt | cksum", shell=True, cwd=program, capture_output=True, check=True)
    (program / ".venv" / "requirements-standalone.txt.done").write_bytes(wanted.stdout)
    return program


def _run(command: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {
        k: v for k, v in os.environ.items() if k not in ("HOME", "PYTHONPATH", "PYTHONSAFEPATH", "EASYPHOTO_VENV")
    }
    return subprocess.run(command, cwd=cwd, env={**variables, **more}, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_paths_are_those_of_the_folder_you_are_in(place: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my photos"
    (mine / "here").mkdir(parents=True)
    # a file that happens to have a module's name, and one that is looked for by a wrong folder
    (mine / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    (mine / "here" / "note.txt").write_text("x")
    links = tmp_path / "bin"
    links.mkdir()
    (links / "one").symlink_to(place / "easyphoto.sh")
    (links / "easyphoto").symlink_to("one")
    for command in ([str(place / "easyphoto.sh")], [str(links / "easyphoto")], ["easyphoto"]):
        for cdpath in ("", str(tmp_path)):
            done = _run(
                [*command, "people", "--data", "here/note.txt"],
                mine, CDPATH=cdpath, PATH=f"{links}{os.pathsep}{os.environ['PATH']}",
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert done.stderr == "easyphoto: --data wants a folder, and here/note.txt is a file.\n"
    done = _run(["bash", "easyphoto.sh", "people", "--json"], place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.thorough
def test_nobody_without_a_home_is_refused(place: Path, tmp_path: Path) -> None:
    """No HOME, and one that can't be written: as for a service's user."""
    for more in ({}, {"HOME": "/nonexistent"}, {"HOME": "", "XDG_CACHE_HOME": "/nonexistent"}):
        done = _run(
            [str(place / "easyphoto.sh"), "people", "--json", "--data", str(tmp_path / "data")], tmp_path, **more
        )
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
