"""Tests of what a new engineer relies on: the files that CONTRIBUTING.md names, and the settings of hooks, CI and
forms."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:easyphoto|tests|tools|docs)/[\w./-]+|\.ci/run|requirements-lock\.txt)`", TEXT)))
TOOLS = ("calibrate_embedder", "parameters", "weights")
WANTED = {"markdown": {"value"}, "dropdown": {"label", "options"}, "checkboxes": {"label", "options"}}


def _read(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_every_file_that_contributing_names_is_there() -> None:
    assert len(NAMED) > 20
    assert not [name for name in NAMED if not (ROOT / name).exists()]


def test_every_name_of_code_that_contributing_gives_is_in_the_file_beside_it() -> None:
    pairs = re.findall(r"`(\w+)`(?: \([^)]*\))? in\s+`((?:easyphoto|tests)/[\w./-]+\.py)`", TEXT)
    assert len(pairs) > 3
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8")), f"{file} has no {name}"


@pytest.mark.parametrize("tool", TOOLS)
def test_the_tools_that_write_documents_start_from_any_folder(tool: str, tmp_path: Path) -> None:
    start = f"import runpy; runpy.run_path({str(ROOT / 'tools' / f'{tool}.py')!r})"
    done = subprocess.run([sys.executable, "-c", start], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_hooks_run_what_the_script_of_ci_runs() -> None:
    (repository,) = _read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    hooks = repository["hooks"]
    assert all({"id", "name", "entry", "language"} <= set(hook) for hook in hooks)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for hook in hooks:
        words = hook["entry"].removeprefix("python -m ").split()
        assert all(word in script for word in words if not word.startswith("--")), hook["entry"]
        assert shutil.which(words[0], path=str(Path(sys.executable).parent)), f"{words[0]} is not among the test tools"


def test_the_workflow_runs_every_step_of_the_script_on_every_system_and_python() -> None:
    jobs = _read(".github/workflows/ci.yml")["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "windows", "macos"}
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"], "the Pythons of requires-python, as texts"
    for job in jobs.values():
        assert all({"uses", "run"} & set(step) for step in job["steps"])
    steps = "\n".join(step.get("run", "") for step in jobs["test"]["steps"])
    for wanted in ("ruff format --check", "ruff check", "mypy", "lint-imports", "easyphoto.bat test", ".ci/run"):
        assert wanted in steps, wanted


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml")), ids=lambda p: p.name)
def test_the_forms_of_issues_are_complete(form: Path) -> None:
    page = _read(form)
    assert page["name"] and page["description"]
    fields = [field for field in page["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    for field in page["body"]:
        assert field["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert WANTED.get(field["type"], {"label"}) <= set(field["attributes"])
