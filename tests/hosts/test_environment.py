"""Our own environment beside a host's. Nothing is downloaded here: tests/hosts/test_real_webui.py does that."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto import environment
from easyphoto.environment import making
from easyphoto.errors import AssetMissing, Cancelled
from easyphoto.events import Event, Progress

WITH_TORCH = environment.HostPython(
    sys.executable, (sys.version_info[0], sys.version_info[1]), {"torch": "2.1.2+cu121", "numpy": "1.26.2"},
    tuple(p for p in sys.path if p.endswith("site-packages")), {"cv2": True, "venv": True, "ensurepip": True},
)  # fmt: skip


@pytest.mark.parametrize(
    ("torch", "transformers"),
    [("2.1.2", "4.46.3"), ("2.3.1+cu121", "4.46.3"), ("2.4.0", "4.57.6"), ("2.13.0+cpu", "4.57.6"), ("3.0", "4.57.6")],
)
def test_packages_fit_the_hosts_torch(torch: str, transformers: str) -> None:
    assert f"transformers=={transformers}" in environment.choose(torch).packages


@pytest.mark.parametrize("torch", ["1.13.1", "2.0.1"])
def test_a_torch_that_is_too_old_is_said(torch: str) -> None:
    with pytest.raises(AssetMissing, match=f"torch {torch} is too old for training: it needs 2.1 or newer"):
        environment.choose(torch)


def test_versions() -> None:
    assert environment.parse_version("2.1.2+cu121") == (2, 1, 2)
    assert environment.parse_version("2.10.0a0+git1") == (2, 10, 0)


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would download or import; others run."""
    kept: list[list[str]] = []
    real = making._run

    def run(command: Sequence[str], tell: Any, cancelled: Callable[[], bool]) -> None:
        if "venv" in command:
            real(["-m" if c == "-m" else c for c in command] + ["--without-pip"], tell, cancelled)
        else:
            kept.append(list(command))

    monkeypatch.setattr(making, "_run", run)
    monkeypatch.setattr(making, "inspect", lambda python=sys.executable: WITH_TORCH)
    return kept


def test_it_falls_back_on_the_hosts_packages_and_holds_them(tmp_path: Path, no_pip: list[list[str]]) -> None:
    folder, told = tmp_path / "环境 1", []
    status = environment.create(told.append, folder=folder)
    assert status.ready
    assert status.python == environment.interpreter(folder)
    install, check = no_pip
    assert "transformers==4.46.3" in install
    assert install[install.index("-c") + 1] == str(folder / "constraints.txt")
    assert (folder / "constraints.txt").read_text() == "torch==2.1.2\nnumpy==1.26.2\n"
    assert "diffusers" in check[-1]
    answer = subprocess.run(
        [str(status.python), "-c", "import numpy, sys; print(numpy.__file__); print(sys.prefix)"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    assert answer[0].startswith(WITH_TORCH.folders[0]), "numpy is the host's"
    assert Path(answer[1]).samefile(folder)
    steps = [event.step for event in told if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert steps[-1] == 4


def test_status_says_what_is_wrong(tmp_path: Path, no_pip: list[list[str]]) -> None:
    assert "isn't made yet" in environment.status(tmp_path / "nothing").sentence
    folder = tmp_path / "e"
    environment.create(folder=folder)
    assert environment.status(folder, torch="2.1.2+cu121").ready
    changed = environment.status(folder, torch="2.3.1")
    assert not changed.ready
    assert "the host has changed" in changed.sentence
    stamp = folder / environment.STAMP
    data = json.loads(stamp.read_text())
    stamp.write_text(json.dumps({**data, "requirements": ["diffusers==0.1"]}))
    assert "older version" in environment.status(folder).sentence
    stamp.write_text(stamp.read_text()[:20])
    assert "isn't made yet" in environment.status(folder).sentence, "a stamp that was cut off counts for nothing"


def test_versions_are_told_of_where_trainings_run(tmp_path: Path, no_pip: list[list[str]]) -> None:
    folder = tmp_path / "e"
    assert environment.installed("numpy", folder) == np.__version__, "without an environment, this Python's"
    environment.create(folder=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "diffusers-0.31.0.dist-info").mkdir()
    (site / "diffusers-0.31.0.dist-info" / "METADATA").write_text("Name: diffusers\nVersion: 0.31.0\n")
    assert environment.installed("diffusers", folder) == "0.31.0"
    assert environment.installed("numpy", folder) == np.__version__
    assert environment.installed("no-such-package", folder) is None


def test_what_is_ready_is_not_made_again(tmp_path: Path, no_pip: list[list[str]]) -> None:
    folder = tmp_path / "e"
    first = environment.ensure(None, lambda: False, folder=folder)
    count = len(no_pip)
    assert environment.ensure(None, lambda: False, folder=folder) == first
    assert len(no_pip) == count


def test_what_fails_is_taken_away_and_told_with_the_last_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(facts: Any, packages: Any, folder: Path, tell: Any, cancelled: Any) -> None:
        folder.mkdir()
        script = "print('Collecting peft'); print('ERROR: No space left on device'); raise SystemExit(1)"
        making._run([sys.executable, "-c", script], tell, cancelled)

    monkeypatch.setattr(making, "inspect", lambda python=sys.executable: WITH_TORCH)
    monkeypatch.setattr(making, "_make", make)
    told: list[Event] = []
    with pytest.raises(AssetMissing, match="could not be made: ERROR: No space left on device"):
        environment.create(told.append, folder=tmp_path / "e")
    assert not (tmp_path / "e").exists()
    assert any(isinstance(event, Progress) and event.message == "Collecting peft" for event in told)


def test_without_a_network_one_sentence_says_so() -> None:
    """In pip's own words, for an index that nobody serves."""
    broken = "NewConnectionError('...: Failed to establish a new connection: [Errno 111] Connection refused')"
    said = (
        f'WARNING: Retrying (Retry(total=0)) after connection broken by "{broken}": /simple/peft/',
        "ERROR: Could not find a version that satisfies the requirement peft==0.13.2 (from versions: none)",
        "ERROR: No matching distribution found for peft==0.13.2",
    )
    script = f"print({chr(10).join(said)!r}); raise SystemExit(1)"
    with pytest.raises(AssetMissing) as told:
        making._run([sys.executable, "-c", script], making._Teller(None), lambda: False)
    assert "pip reaches no package index. Check the network" in str(told.value)
    assert "Retry" not in str(told.value)


def test_cancelling_stops_a_silent_download_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        making._run(
            [sys.executable, "-c", "import time; time.sleep(60)"],
            making._Teller(None),
            lambda: time.monotonic() - begin > 0.5,
        )
    assert time.monotonic() - begin < 5


def test_a_host_without_torch_or_venv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = environment.HostPython("/host/python", (3, 10), {"torch": None}, (), {"venv": True, "ensurepip": True})
    monkeypatch.setattr(making, "inspect", lambda python=sys.executable: facts)
    with pytest.raises(AssetMissing, match="has no torch"):
        environment.create(folder=tmp_path / "e")
    bare = environment.HostPython("/host/python", (3, 10), {"torch": "2.1.2"}, (), {"venv": False, "ensurepip": False})
    monkeypatch.setattr(making, "inspect", lambda python=sys.executable: bare)
    with pytest.raises(AssetMissing, match=r"without the venv module.*Python 3\.10"):
        environment.create(folder=tmp_path / "e")


def test_a_python_says_what_it_is() -> None:
    facts = environment.inspect(sys.executable)
    assert facts.python == sys.version_info[:2]
    assert facts.versions["numpy"]
    assert facts.has["venv"]
    with pytest.raises(AssetMissing, match="can't be run"):
        environment.inspect("/no/such/python")


def test_the_newest_set_is_what_requirements_pin() -> None:
    """The one is for pip beside a torch of our choice, the other beside any torch of a host."""
    lines = (environment.FOLDER.parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(_name_and_version(line) for line in lines if line and not line.startswith("#"))
    (newest,) = [s for s in environment.SETS if s.torch_below is None]
    ours = dict(_name_and_version(line) for line in (*newest.packages, *environment.COMMON))
    assert {name: pinned.get(name) for name, version in ours.items() if version} == {n: v for n, v in ours.items() if v}
    assert set(ours) <= set(pinned)
    assert set(pinned) - set(ours) == {"numpy", "opencv-python-headless", "scipy"}, "every WebUI has these"


def _name_and_version(line: str) -> tuple[str, str]:
    name = re.split("[=<>]", line)[0]
    return name, line.removeprefix(name)
