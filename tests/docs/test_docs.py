"""The documents keep step with the code and with each other."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from easyphoto.cli import endings

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_parameters_is_that_of_the_declarations() -> None:
    spec = importlib.util.spec_from_file_location("parameters_tool", ROOT / "tools" / "parameters.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8") == tool.document(), "run tools/parameters.py"


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
