"""Whatever the program can say to a user of the tabs has its Chinese, with the same places."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from easyphoto import errors
from easyphoto.catalog import Catalog
from easyphoto.config import PortraitConfig, TrainConfig, declared
from easyphoto.errors import InvalidRequest
from easyphoto.messages import LANGUAGES, languages, translated
from easyphoto.people import user_id
from easyphoto.training.photos import Verdict
from easyphoto.ui import texts

PACKAGE = Path(__file__).resolve().parents[2] / "easyphoto"
ELSEWHERE = ("cli/", "api/", "messages/")
"""What speaks to a terminal or to a program only."""
KINDS = frozenset(name for name in dir(errors) if name[0].isupper() and name != "Iterator")
SPEAKS = KINDS | {"Message"}


def templates(folder: Path = PACKAGE) -> dict[str, str]:
    """Template -> where it stands, for every error that is raised and every message that is made in the package."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        where = path.relative_to(folder).as_posix()
        if where.startswith(ELSEWHERE):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = dict(_constants(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node.func) in SPEAKS and node.args:
                assert not _made_at_run_time(node.args[0]), f"{where}:{node.lineno} says an f-string: give its template"
                text = _text(node.args[0], constants)
                if text is not None and " " in text.strip():
                    found.setdefault(text, f"{where}:{node.lineno}")
    return found


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((target.id, node.value.value) for target in node.targets if isinstance(target, ast.Name))


def _made_at_run_time(node: ast.expr) -> bool:
    return any(isinstance(part, ast.JoinedStr) for part in ast.walk(node))


def _text(node: ast.expr, constants: dict[str, str]) -> str | None:
    """The text of a constant, a named constant, or several of them added."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left, constants), _text(node.right, constants)
        return None if left is None or right is None else left + right
    return None


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_every_error_and_message_has_its_chinese() -> None:
    found, known = templates(), languages.catalog("zh")
    assert len(found) > 300
    assert not {text: where for text, where in found.items() if text not in known}


def test_every_parameter_has_its_chinese() -> None:
    rows = [d.param for cls in (TrainConfig, PortraitConfig) for d in declared(cls)]
    assert not {text for row in rows for text in (row.label, row.help) if text not in languages.catalog("zh")}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != languages.ENGLISH])
def test_translations_have_the_places_of_their_templates(language: str) -> None:
    for english, other in languages.catalog(language).items():
        assert places(other) <= places(english), english


def test_a_test_with_an_f_string_would_fail(tmp_path: Path) -> None:
    (tmp_path / "loose.py").write_text('raise NotFound(f"There is no {name}.")')
    with pytest.raises(AssertionError, match="give its template"):
        templates(tmp_path)


def test_what_the_catalog_says_has_its_chinese() -> None:
    catalog, known = Catalog.load(), languages.catalog("zh")
    spoken = {a.what for a in catalog.assets.values()} | {b.what for b in catalog.bundles.values()}
    spoken |= {a.licence for a in catalog.assets.values() if re.search(r"[a-z] [a-z]", a.licence)}
    assert not spoken - set(known)


def test_sentences_as_they_are_met() -> None:
    for raising, expected in (
        (lambda: user_id(""), "用户 ID 为空：请输入人物的名字。"),
        (lambda: TrainConfig(rank=0), "rank 必须在 1 到 512 之间，不能是 0。"),
        (lambda: TrainConfig(rank="many"), "rank 必须是整数，不能是 'many'。"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequest) as error:
            raising()  # type: ignore[no-untyped-call]
        assert translated(error.value.message, "zh") == expected


def test_every_verdict_has_a_word() -> None:
    assert all(texts.say(verdict.value, "zh") != texts.say(verdict.value, "en") for verdict in Verdict)
    assert all(translated(verdict.value, "zh") != verdict.value for verdict in Verdict)
