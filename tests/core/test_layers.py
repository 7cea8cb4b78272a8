"""What the import contracts can't say by themselves: that they speak of every module, and that no circle is hidden."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
from importlinter import api

ROOT = Path(__file__).resolve().parents[2]


@cache
def graph() -> grimp.ImportGraph:
    """Every import of the package, those inside functions too, but for those that only a type checker sees."""
    return grimp.build_graph("easyphoto", exclude_type_checking_imports=True, cache_dir=None)


def circles(of: grimp.ImportGraph) -> Iterator[frozenset[str]]:
    """Groups of modules each of which reaches every other one of its group by imports (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> Iterator[frozenset[str]]:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for other in sorted(of.find_modules_directly_imported_by(module)):
            if other not in number:
                yield from visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            group = path[path.index(module) :]
            del path[path.index(module) :]
            if len(group) > 1:
                yield frozenset(group)

    for module in sorted(of.modules):
        if module not in number:
            yield from visit(module)


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert len(graph().modules) > 200, "the whole package was looked at"
    assert sys.getrecursionlimit() > len(graph().modules)
    assert list(circles(graph())) == []


def test_a_circle_that_a_function_closes_is_seen() -> None:
    made = grimp.build_graph("easyphoto", exclude_type_checking_imports=True, cache_dir=None)
    made.add_import(importer="easyphoto.messages.message", imported="easyphoto.sd.loading")
    (circle,) = circles(made)
    assert {"easyphoto.messages.message", "easyphoto.sd.loading", "easyphoto.errors"} <= circle


def test_every_module_at_the_top_belongs_to_a_layer() -> None:
    contracts = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {name.strip() for row in layers for name in row.split("|")}
    assert named == graph().find_children("easyphoto")
