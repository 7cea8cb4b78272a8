"""Every sentence of the package that can reach a user of the tabs, found in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from easyphoto import errors

PACKAGE = Path(__file__).resolve().parents[2] / "easyphoto"
ELSEWHERE = ("cli/", "api/", "ui/texts.py", "ui/train_tab.py", "ui/weights_tab.py", "doctor.py")
"""What speaks to a terminal or to a program, or has its Chinese among the words of the page."""
SPEAKS = frozenset({"notice", "_note", "Notice", "_Broke", "_Refused", *(n for n in dir(errors) if n[0].isupper())})
"""What is called with something to say, whether or not it is a whole sentence."""
ENDS = (".", "!", "?")
NOT_SAID = frozenset(
    {
        "{1} {2}.",  # a verdict on a file, for the terminal
        "{1}: {2}",  # too little to be told by
    }
)


def sentences() -> dict[str, str]:
    """Template -> where it stands. What is put in at run time is ``{1}``, ``{2}`` ... in the order of the English."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith(ELSEWHERE):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = _constants(tree)
        said = {id(part) for node in ast.walk(tree) for part in _said(node)}
        for node in _texts(tree):
            text = template(node, constants)
            whole = text.rstrip().endswith(ENDS) and not where.startswith(("config.py", "ui/generate", "ui/template"))
            if (whole or id(node) in said) and " " in text.strip() and text not in NOT_SAID:
                found.setdefault(text, f"{where}:{node.lineno}")
    return found


def _constants(tree: ast.Module) -> dict[str, str]:
    """The texts that the module gives names to."""
    return {
        target.id: str(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _said(node: ast.AST) -> Iterator[ast.AST]:
    """The texts that a call of something in ``SPEAKS`` says."""
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in SPEAKS:
        spoken = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "message")]
        for argument in spoken:
            yield argument
            if isinstance(argument, ast.IfExp):
                yield from (argument.body, argument.orelse)


def _texts(tree: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    """The string expressions that are neither docstrings nor parts of others nor said to the log."""
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(id(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_log(node.func.value):
            passed |= {id(n) for a in node.args for n in ast.walk(a)}
        if isinstance(node, ast.JoinedStr):
            passed |= {id(v) for v in node.values}
    for node in ast.walk(tree):
        if id(node) not in passed and (
            isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        ):
            yield node


def _is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("log", "_log")


def template(node: ast.Constant | ast.JoinedStr, constants: Mapping[str, str]) -> str:
    """The text with numbered places."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    parts, number = [], 0
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value))
        elif isinstance(value, ast.FormattedValue) and getattr(value.value, "id", None) in constants:
            parts.append(constants[getattr(value.value, "id", "")])
        else:
            number += 1
            parts.append(f"{{{number}}}")
    return "".join(parts)
