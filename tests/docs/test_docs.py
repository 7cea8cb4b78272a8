"""Tests that the documents agree with the code and with each other."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from easyphoto.cli import endings

ROOT = Path(__file__).resolve().parents[2]


def _tool(name: str) -> Any:
    """A script of the folder ``tools`` as a module."""
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_table_of_parameters_is_that_of_the_declarations() -> None:
    tool = _tool("parameters")
    assert (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8") == tool.document(), "run tools/parameters.py"


def test_the_picture_of_the_layers_is_that_of_the_contract() -> None:
    pytest.importorskip("importlinter")
    tool = _tool("layers_picture")
    contracts = tool.contracts()
    drawn = (ROOT / "docs" / "images" / "layers.svg").read_text(encoding="utf-8")
    assert drawn == tool.draw(contracts), "run tools/layers_picture.py"
    names = [name for layer in tool.layers(contracts) for name in layer]
    assert all(f">{name}</text>" in drawn for name in names)
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = design.split("## Layers", 1)[1].split("\n## ", 1)[0]
    missing = [name for name in names if f"`{name}`" not in section]
    assert not missing, f"docs/design.md doesn't say what these are: {missing}"


def test_the_lock_file_names_a_version_of_every_package_that_is_asked_for() -> None:
    locked = (ROOT / "requirements-lock.txt").read_text(encoding="utf-8").splitlines()
    versions: dict[str, list[Requirement]] = {}
    for line in locked:
        if line and not line.startswith("#"):
            versions.setdefault(canonicalize_name(Requirement(line).name), []).append(Requirement(line))
    for file in ("requirements.txt", "requirements-standalone.txt", "requirements-test.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            text = line.split("#")[0].strip()
            if not text or text.startswith(("-", "torch==")):
                continue
            asked = Requirement(text)
            found = versions.get(canonicalize_name(asked.name), [])
            assert found, f"{text} is not locked: run tools/lock.py"
            for lock in found:
                (pin,) = lock.specifier
                assert asked.specifier.contains(pin.version), f"{lock} is not {text}: run tools/lock.py"


def test_a_lock_says_where_versions_differ() -> None:
    tool = _tool("lock")
    ten, eleven, twelve = (3, 10), (3, 11), (3, 12)
    text = tool.document({
        ten: {"a": "1", "b": "1", "c": "1", "old": "5"},
        eleven: {"a": "1", "b": "2", "c": "2"},
        twelve: {"a": "1", "b": "2", "c": "3"},
    })  # fmt: skip
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "a==1",
        'b==1 ; python_version < "3.11"',
        'b==2 ; python_version >= "3.11"',
        'c==1 ; python_version < "3.11"',
        'c==2 ; python_version >= "3.11" and python_version < "3.12"',
        'c==3 ; python_version >= "3.12"',
        "old==5",
    ]


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(ROOT) for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=str
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text)
    local = [a or b for a, b in links if not (a or b).startswith(("http", "mailto"))]
    missing = [link for link in local if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing, missing


def test_both_readmes_have_the_same_sections_pictures_and_commands() -> None:
    english, chinese = (ROOT / n for n in ("README.md", "README.zh-CN.md"))

    def skeleton(path: Path) -> tuple[int, list[str], list[str]]:
        text = path.read_text(encoding="utf-8")
        code = [
            line.split("#")[0].strip()
            for block in re.findall(r"```\w*\n(.*?)```", text, re.S)
            for line in block.splitlines()
        ]
        return len(re.findall(r"^## ", text, re.M)), re.findall(r"docs/images/[\w.-]+", text), [c for c in code if c]

    assert skeleton(english) == skeleton(chinese)


def test_no_document_holds_a_path_of_a_machine() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        assert not re.search(r"(?<![\w.])/(work|root|home|Users|tmp)/", page.read_text(encoding="utf-8")), page
    assert sys.version_info >= (3, 10)


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.M)
    assert {int(status): words for status, words in rows} == endings.statuses()
