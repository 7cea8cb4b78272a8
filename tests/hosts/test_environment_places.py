"""Making the environment for real: any path, two makers at once, updates, and ends at any moment.

pip runs as it is, on little packages made here; the index is a folder.
"""

from __future__ import annotations

import ensurepip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from easyphoto import environment
from easyphoto.environment import making, packages, places
from easyphoto.environment.exclusive import exclusive
from easyphoto.errors import Cancelled, StorageFailed
from easyphoto.events import Event, Progress

PROJECT = Path(__file__).resolve().parents[2]
WITH_TORCH = environment.HostPython(
    sys.executable, (sys.version_info[0], sys.version_info[1]), {"torch": "2.4.0"}, (),
    {"cv2": True, "venv": True, "ensurepip": True},
)  # fmt: skip

SCRIPT = """
import json, sys, time
from pathlib import Path
from easyphoto import environment
from easyphoto.environment import making, packages

settings = json.loads(sys.argv[1])
packages.SETS = (environment.PackageSet("little", (0,), None, tuple(settings["packages"])),)
packages.COMMON, making.NEEDED = (), tuple(settings["needed"])
making._FACTS = making._FACTS.replace('version("torch")', '"2.4.0"').replace(
    '"versions": {', '"versions": {"torch": "2.4.0"} and {"torch": "2.4.0"} or {')
if not settings["pip"]:
    real = making._run
    def run(command, tell, cancelled):
        if "venv" in command:
            return real([*command, "--without-pip"], tell, cancelled)
        if "install" in command:
            code = settings["install"] or ("import sys, time, pathlib as p\\nfor i in range(40):\\n"
                    " time.sleep(0.01); (p.Path(sys.prefix) / f'file{i}').write_text('x')")
            return real([command[0], "-c", code], tell, cancelled)
    making._run = run
def show(event):
    print(event.message, flush=True)
print(environment.create(show, folder=Path(settings["folder"])).sentence)
"""


def _wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {name}\n" for name in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def _start(folder: Path, index: Path | None = None, install: str = "") -> subprocess.Popen[str]:
    settings = {"folder": str(folder), "packages": ["little==1"], "install": install, "pip": index is not None}
    settings["needed"] = ["json" if index is None else "little"]
    variables = {"PYTHONPATH": str(PROJECT)}
    if index is not None:
        variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": index.as_uri(), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", **variables}, cwd=folder.parent,
    )  # fmt: skip


def _make(folder: Path) -> None:
    making = _start(folder)
    said, _ = making.communicate(timeout=60)
    assert making.returncode == 0, said


def _works(folder: Path) -> bool:
    done = subprocess.run([environment.interpreter(folder), "-c", "import json"], check=False, capture_output=True)
    return done.returncode == 0


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the scripts take for the packages, for the status as this process sees it."""
    monkeypatch.setattr(packages, "SETS", (environment.PackageSet("little", (0,), None, ("little==1",)),))
    monkeypatch.setattr(packages, "COMMON", ())


@pytest.mark.thorough
def test_any_path_gets_one_with_real_pip(tmp_path: Path, little: None) -> None:
    """The accent, the quote, the space and the emoji are in the environment's path and in the index's."""
    home = tmp_path / "Zoé's “models” 环境 😀"
    home.mkdir()
    _wheel(home, "little", "1")
    making = _start(home / ".environment", home)
    said, _ = making.communicate(timeout=120)
    assert making.returncode == 0, said
    found = environment.status(home / ".environment", "2.4.0")
    assert found.ready and found.python is not None, found.sentence
    answer = subprocess.run(
        [found.python, "-c", "import little, numpy; print(ascii(little.__file__)); print(numpy.__version__)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ascii(home.name)[1:-1].split("\\")[0] in answer, "little is in it, numpy is the host's"
    assert environment.installed("little", home / ".environment") == "1"


@pytest.mark.thorough
def test_what_the_host_lacks_is_not_printed_as_an_error_of_ours(tmp_path: Path) -> None:
    """pip's own words for it are "ERROR: pip's dependency resolver ..."; a real error fails as ever."""
    _wheel(tmp_path, "little", "1")
    _wheel(tmp_path, "greedy", "1", "never-published", "little")
    venv = tmp_path / "host"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (whole,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    pip = [places.python_in(venv), str(whole / "pip"), "--disable-pip-version-check"]
    offline = ["--no-index", "--find-links", str(tmp_path)]
    subprocess.run([*pip, "install", "-q", *offline, "--no-deps", "greedy"], check=True, capture_output=True)
    loud = subprocess.run([*pip, "install", "-q", *offline, "little"], check=True, capture_output=True, text=True)
    assert "dependency resolver" in loud.stderr, "this is what is avoided"
    again = [*pip, "install", "-q", "--no-warn-conflicts", "--force-reinstall", *offline, "little"]
    assert subprocess.run(again, check=True, capture_output=True, text=True).stderr == ""
    failing = subprocess.run([*again, "none-such"], check=False, capture_output=True, text=True)
    assert failing.returncode == 1 and "none-such" in failing.stderr
    installers = (PROJECT / "easyphoto.sh", PROJECT / "easyphoto.bat", Path(making.__file__))
    assert all("--no-warn-conflicts" in file.read_text(encoding="utf-8") for file in installers)


@pytest.mark.thorough
def test_two_makers_make_one(tmp_path: Path, little: None) -> None:
    folder = tmp_path / ".environment"
    both = [_start(folder), _start(folder)]
    said = [making.communicate(timeout=60)[0] for making in both]
    assert [making.returncode for making in both] == [0, 0], said
    assert sorted(making.WAITING in text for text in said) == [False, True]
    assert sorted("Installing packages" in text for text in said) == [False, True]
    assert environment.status(folder, "2.4.0").ready and _works(folder)
    assert places.found(folder) == [folder]


def test_two_threads_make_one_and_waiting_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made, told = tmp_path / ".environment", [], list[Event]()

    def make(facts: object, packages: object, place: Path, *_: object) -> None:
        places.python_in(place).parent.mkdir(parents=True)
        places.python_in(place).touch()
        time.sleep(1)
        made.append(place)

    monkeypatch.setattr(making, "inspect", lambda python=sys.executable: WITH_TORCH)
    monkeypatch.setattr(making, "_make", make)
    threads = [threading.Thread(target=environment.create, kwargs={"folder": folder}) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with pytest.raises(Cancelled):
        environment.create(told.append, lambda: True, folder=folder)
    for thread in threads:
        thread.join(20)
    assert made == [folder] and environment.status(folder).ready
    environment.create(told.append, folder=folder)
    assert len(made) == 2, "who had not to wait makes it new"
    assert not [e for e in told if isinstance(e, Progress) and e.message == making.WAITING]


@pytest.mark.thorough
def test_a_failed_update_leaves_the_one_that_works(tmp_path: Path, little: None) -> None:
    folder = tmp_path / ".environment"
    _make(folder)
    before = environment.status(folder, "2.4.0")
    assert before.ready
    failing = _start(folder, install="raise SystemExit('ERROR: No matching distribution found for none-such==2')")
    said, _ = failing.communicate(timeout=120)
    assert failing.returncode != 0 and "none-such" in said
    assert environment.status(folder, "2.4.0") == before and _works(folder)
    assert places.found(folder) == [folder], "what was begun is taken away"


@pytest.mark.thorough
def test_an_update_has_a_place_of_its_own_and_the_old_is_swept_later(
    tmp_path: Path, little: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".environment"
    _make(folder)
    _make(folder)
    second = environment.interpreter(folder)
    assert folder.is_dir() and second.parent.parent != folder and _works(folder)
    (tmp_path / ".environment.0123abcd" / "half").mkdir(parents=True)
    (tmp_path / ".environment.backup").mkdir()
    environment.ensure(None, lambda: False, folder=folder)
    assert places.found(folder) == [folder, second.parent.parent], "what was broken off is gone"
    monkeypatch.setattr(places, "KEPT_FOR", -1)
    assert environment.ensure(None, lambda: False, folder=folder) == second
    assert places.found(folder) == [second.parent.parent] and _works(folder)
    assert (tmp_path / ".environment.backup").is_dir(), "only what we named is ours"


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_killed_at_any_moment_the_one_before_is_there(tmp_path: Path, little: None) -> None:
    folder = tmp_path / ".environment"
    _make(folder)
    moments = random.Random(3)
    for _ in range(8):
        making = _start(folder)
        time.sleep(moments.uniform(0.1, 1.5))
        making.send_signal(signal.SIGKILL)
        making.communicate(timeout=30)
        assert environment.status(folder, "2.4.0").ready and _works(folder)
    _make(folder)
    assert len(places.found(folder)) <= 2 and _works(folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that can't be written")
def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(StorageFailed, match="can't be written"),
        making._alone(tmp_path / ".environment", making._Teller(None), lambda: False),
    ):
        pass


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageFailed, match="can't be written"),
        making._alone(tmp_path / "file" / ".environment", making._Teller(None), lambda: False),
    ):
        pass


def test_a_stamp_that_can_not_be_written_is_said_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(facts: object, packages: object, place: Path, *_: object) -> None:
        (place / f"{environment.STAMP}.new").mkdir(parents=True)

    monkeypatch.setattr(making, "inspect", lambda python=sys.executable: WITH_TORCH)
    monkeypatch.setattr(making, "_make", make)
    with pytest.raises(StorageFailed, match="can't be written"):
        environment.create(folder=tmp_path / ".environment")
    assert places.found(tmp_path / ".environment") == []


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom easyphoto.environment.exclusive import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1]), lambda: None):\n print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, cwd=PROJECT
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"in\n"
        with pytest.raises(TimeoutError), exclusive(tmp_path / "lock", lambda: None, limit=0.3):
            pass
        holder.kill()
    with exclusive(tmp_path / "lock", lambda: None, limit=5) as waited:
        assert not waited
