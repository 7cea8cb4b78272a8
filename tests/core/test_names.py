"""One word has one meaning: no public class or type has the name of another, and no module file that of another."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import easyphoto

PACKAGE = Path(easyphoto.__file__).parent

SHARED_MODULES = {
    "batch": "a command's module has the command's name, and `batch` runs what the package `batch` makes",
    "catalog": "the package passes on the class of its own `catalog.catalog`, after which it is named",
    "host": "each host is a package, and what it is called says whose host it is",
    "lora": "`sd.lora` reads and writes LoRA files, `training.lora` trains one: both are about the same thing",
    "people": "a command's module has the command's name, and `people` is about those of the package `people`",
    "spec": "the specification of a family and that of a training: the package says of what",
}
"""Names that more than one module or package has, and why nobody takes one for another."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def defined(tree: ast.Module) -> Iterator[str]:
    """The public classes and types that a module defines. What it imports to pass on, and variables for types, which
    mean something in one signature alone, don't count."""
    for statement in tree.body:
        for node in (
            [statement, *getattr(statement, "body", [])] if isinstance(statement, ast.If | ast.Try) else [statement]
        ):
            if isinstance(node, ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).endswith("TypeAlias"):
                yield ast.unparse(node.target)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Subscript | ast.BinOp):
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def is_type_name(name: str) -> bool:
    """Whether it is public and written as types are: constants have capitals alone, and functions none."""
    return name[0].isupper() and not name.isupper()


def test_no_two_modules_define_a_type_of_one_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for name in set(defined(ast.parse(path.read_text(encoding="utf-8")))):
            if is_type_name(name):
                homes[name].append(path.relative_to(PACKAGE).as_posix())
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
    assert len(homes) > 200, "the search has gone blind"


def test_no_two_packages_have_a_module_of_one_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        name = path.parent.name if path.stem == "__init__" else path.stem
        homes[name].append(path.relative_to(PACKAGE).as_posix())
    shared = {name: where for name, where in homes.items() if len(where) > 1}
    assert {name: where for name, where in shared.items() if name not in SHARED_MODULES} == {}
    assert sorted(SHARED_MODULES) == sorted(shared), "a name that is no longer shared needs no reason"
