"""The program as pip installs it: what is in the wheel, and that a copy in ``site-packages`` finds everything.

Nothing is built here: hatchling says which files a wheel would hold, and an environment is given those files.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from easyphoto import program
from easyphoto.config import Paths

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = """
import json, sys
from pathlib import Path
from easyphoto import program
from easyphoto.catalog import assets
from easyphoto.config import Family, Paths, TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.training import job
from easyphoto.training.spec import TrainingSpec
from easyphoto.ui import app
from easyphoto.vision.remote import RemoteVision

paths = Paths.standalone()
folder = paths.people / "ann"
spec = TrainingSpec(
    "ann", (folder / "missing.jpg",), TrainConfig(), paths.bench, Family.BENCH, folder,
    paths.loras / "ann.safetensors", models=paths.models,
)
try:
    job.run(spec, folder / "job", lambda event: None, lambda: False)
    trainer = "it trained"
except InvalidRequest as error:
    trainer = str(error)
vision = RemoteVision(lambda: Path(sys.executable), {"models": str(paths.models)})
seen = dict(vision.backends())
vision.release()
print(json.dumps({
    "installed": program.INSTALLED, "package": program.__file__, "outputs": str(paths.outputs),
    "bench": (paths.bench / "unet" / "config.json").is_file(),
    "templates": (paths.templates / "manifest.json").is_file(),
    "style": len(app.style()), "script": len(app.head()), "trainer": trainer, "vision": seen,
}))
"""


@pytest.fixture(scope="module")
def wheel() -> dict[str, Path]:
    """Where each file of the wheel lies now, by its name in the wheel."""
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling says what a wheel holds")
    before = Path.cwd()
    os.chdir(ROOT)  # hatchling takes the paths of pyproject.toml from there
    try:
        found = builders.WheelBuilder(str(ROOT)).recurse_included_files()
        return {file.distribution_path.replace(os.sep, "/"): ROOT / file.path for file in found}
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def project() -> Any:
    """The metadata of the wheel."""
    core = pytest.importorskip("hatchling.metadata.core", reason="hatchling reads the metadata")
    managers = pytest.importorskip("hatchling.plugin.manager")
    return core.ProjectMetadata(str(ROOT), managers.PluginManager()).core


@pytest.fixture(scope="module")
def python(wheel: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Python of an environment that the wheel's files were put into; what they need is borrowed from ours."""
    folder = tmp_path_factory.mktemp("环境 of an installed program")
    venv.create(folder, with_pip=False)
    (site,) = [*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]
    for name, source in wheel.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (os.link if source.suffix == ".safetensors" and _same_device(source, site) else shutil.copy)(
            source, site / name
        )
    ours = [p for p in sys.path if p.endswith("site-packages")]
    (site / "ours.pth").write_text("\n".join(ours), encoding="utf-8")
    yield next(iter([*folder.glob("bin/python"), *folder.glob("Scripts/python.exe")]))
    shutil.rmtree(folder, ignore_errors=True)


def _same_device(a: Path, b: Path) -> bool:
    return a.stat().st_dev == b.stat().st_dev


def _run(python: Path, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    names = ("PYTHONPATH", "PYTHONSAFEPATH", program.DATA)
    variables = {k: v for k, v in os.environ.items() if k not in names}
    variables |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONUTF8": "1", **more}
    home.mkdir(exist_ok=True)
    return subprocess.run([python, *arguments], cwd=home, env=variables, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_package_and_what_ships_with_it(wheel: dict[str, Path]) -> None:
    package = {f"easyphoto/{p.relative_to(ROOT / 'easyphoto').as_posix()}" for p in (ROOT / "easyphoto").rglob("*")}
    package = {p for p in package if (ROOT / p).is_file() and "__pycache__" not in p}
    assert package <= set(wheel)
    others = set(wheel) - package
    assert all(name.startswith("easyphoto/shipped/") for name in others), others
    shipped = {name.removeprefix("easyphoto/shipped/") for name in others}
    bench = {p.relative_to(ROOT).as_posix() for p in (ROOT / "models" / "bench").rglob("*") if p.is_file()}
    assert bench | {"style.css", "javascript/easyphoto.js", "templates/manifest.json"} <= shipped


def test_a_checkout_is_not_taken_for_an_installed_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not program.INSTALLED
    assert program.FILES == program.ROOT == ROOT
    assert program.import_path() == [str(ROOT)] and program.import_path(installed=True) == []
    monkeypatch.delenv(program.DATA, raising=False)
    assert Paths.standalone().outputs == ROOT / "outputs"
    monkeypatch.setenv(program.DATA, str(tmp_path))
    assert Paths.standalone().outputs == tmp_path / "outputs"
    assert Paths.standalone(tmp_path / "other").outputs == tmp_path / "other" / "outputs"


def test_the_data_of_an_installed_program_lies_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert program.data_folder({}, installed=True) == tmp_path / "EasyPhoto"
    assert program.data_folder({program.DATA: " "}, installed=True) == tmp_path / "EasyPhoto"
    assert program.data_folder({program.DATA: str(tmp_path)}, installed=True) == tmp_path


@pytest.mark.thorough
@pytest.mark.timeout(120)
def test_an_installed_program_finds_its_files_and_starts_its_processes(python: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = _run(python, home, "-c", EVERYTHING)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["installed"] and Path(told["package"]).is_relative_to(python.parents[1])
    assert Path(told["outputs"]) == home / "EasyPhoto" / "outputs"
    assert told["bench"] and told["templates"] and told["style"] > 1000 and told["script"] > 1000
    assert "None of the photos" in told["trainer"]
    assert told["vision"]["detector"]
    site = Path(told["package"]).parents[1]
    assert not (site / "outputs").exists() and not (site / "EasyPhoto").exists()


def test_the_command_runs_and_takes_its_folder_from_the_environment(project: Any, python: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ((name, value),) = project.scripts.items()
    entry = importlib.metadata.EntryPoint(name, value, "console_scripts")
    assert name == "easyphoto"
    script = f"import sys; from {entry.module} import {entry.attr} as run; sys.exit(run())"
    done = _run(python, home, "-c", script, "people", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    done = _run(python, home, "-c", script, "--help")
    assert done.returncode == 0 and "EasyPhoto in your home folder" in " ".join(done.stdout.split())
    note = tmp_path / "note.txt"
    note.write_text("x", encoding="utf-8")
    done = _run(python, home, "-c", script, "people", **{program.DATA: str(note)})
    assert (done.returncode, done.stdout) == (2, "") and "wants a folder" in done.stderr
    done = _run(python, home, "-c", script, "people", "--json", "--data", str(home), **{program.DATA: str(note)})
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_pip_installs_what_the_scripts_install(project: Any) -> None:
    lines = [
        line.split("#")[0].strip()
        for name in ("requirements.txt", "requirements-standalone.txt")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    ]
    wanted = {line for line in lines if line and not line.startswith("-")}
    assert {_canonical(text) for text in project.dependencies} == {_canonical(text) for text in wanted}


def _canonical(text: str) -> tuple[str, str]:
    """The name of a requirement as an index knows it, and its versions."""
    requirement = Requirement(text)
    return canonicalize_name(requirement.name), str(requirement.specifier)


def test_the_demo_goes_without_the_picture_that_no_package_of_pip_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    from easyphoto.cli import demo
    from easyphoto.errors import AssetMissing

    def without(package: str, *parts: str) -> Any:
        if package == "insightface":
            raise AssetMissing("not here")
        return photograph(package, *parts)

    assert [scene.name for scene in demo.scenes()] == ["single", "group"]
    photograph = demo.photograph
    monkeypatch.setattr(demo, "photograph", without)
    assert [scene.name for scene in demo.scenes()] == ["single"]
