"""Tests that everything that the program can say to a user of the tabs has a translation with the same places."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from easyphoto import errors, pictures
from easyphoto.catalog import Catalog
from easyphoto.config import DrawnClipConfig, PortraitConfig, TrainConfig, declared
from easyphoto.errors import AssetMissing, InvalidRequest, NoFace
from easyphoto.messages import LANGUAGES, Message, joined, languages, translated
from easyphoto.people import user_id
from easyphoto.training.crops import select
from easyphoto.training.photos import PhotoOutcome, PhotoReport, PhotoVerdict
from easyphoto.ui import texts
from easyphoto.vision import registry

PACKAGE = Path(__file__).resolve().parents[2] / "easyphoto"
ELSEWHERE = ("cli/", "api/", "messages/")
"""What speaks to a terminal or to a program only."""
KINDS = frozenset(name for name in dir(errors) if name[0].isupper() and name != "Iterator")
SPEAKS = KINDS | {"Message"}
TRANSLATED = [language for language in LANGUAGES if language != languages.ENGLISH]


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
    assert not labels() - set(languages.catalog("zh"))


def test_nothing_is_translated_that_is_never_said() -> None:
    said = labels() | words_of_the_catalog() | set(texts.STATIC) | set(texts.SAYINGS.values())
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = dict(_constants(tree))
        found = (_text(node, constants) for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.BinOp))
        said |= {text for text in found if text is not None}
    assert not set(languages.catalog("zh")) - said


def labels() -> set[str]:
    """The labels and the help of all parameters."""
    rows = [d.param for cls in (TrainConfig, PortraitConfig, DrawnClipConfig) for d in declared(cls)]
    return {text for row in rows for text in (row.label, row.help)}


def words_of_the_catalog() -> set[str]:
    """What the weights and their bundles are, and licences that are more than a name."""
    catalog = Catalog.load()
    spoken = {a.what for a in catalog.assets.values()} | {b.what for b in catalog.bundles.values()}
    return spoken | {a.licence for a in catalog.assets.values() if re.search(r"[a-z] [a-z]", a.licence)}


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_sentence_is_translated_twice(language: str) -> None:
    """Of two lines with one sentence JSON takes the last, and whoever mends the first sees no change."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({name for name, _ in pairs}) == len(pairs), sorted(name for name, _ in pairs)
        return dict(pairs)

    json.loads((PACKAGE / "messages" / f"{language}.json").read_text(encoding="utf-8"), object_pairs_hook=once)


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_places_of_their_templates(language: str) -> None:
    for english, other in languages.catalog(language).items():
        assert places(other) <= places(english), english


def test_a_test_with_an_f_string_would_fail(tmp_path: Path) -> None:
    (tmp_path / "loose.py").write_text('raise NotFound(f"There is no {name}.")')
    with pytest.raises(AssertionError, match="give its template"):
        templates(tmp_path)


def test_what_the_catalog_says_has_its_chinese() -> None:
    assert not words_of_the_catalog() - set(languages.catalog("zh"))


def test_sentences_as_they_are_met() -> None:
    for raising, expected in (
        (lambda: user_id(""), "用户 ID 为空：请输入人物的名字。"),
        (lambda: TrainConfig(rank=0), "rank 必须在 1 到 512 之间，不能是 0。"),
        (lambda: TrainConfig(rank="many"), "rank 必须是整数，不能是 'many'。"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequest) as error:
            raising()  # type: ignore[no-untyped-call]
        assert translated(error.value.message, "zh") == expected


def test_sentences_within_sentences_and_behind_one_another(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(InvalidRequest) as broken:
        pictures.load(tmp_path / "a.jpg")
    out = Message("A photo was left out: {error}", error=broken.value)
    kinds = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
    assert translated(out, "zh") == f"忽略了一张照片：a.jpg 不是可读取的图片：请另存为 {kinds}。"

    failures = [
        Message("{host} {reason}", host="x.org", reason=Message("can't be reached")),
        Message("{host} {reason}", host="y.org", reason=Message("answered {status}", status=404)),
    ]
    one = AssetMissing("{wanted} could not be downloaded: {tried}.", wanted="a.onnx", tried=joined(failures, "; "))
    two = joined([one.message, Message("The training was stopped.")], " ")
    assert translated(two, "zh") == "a.onnx 下载失败：x.org 无法连接；y.org 返回了状态 404。训练已停止。"

    vision = registry.create(tmp_path, backends={"enhancer": "gpen"})
    (notice,) = vision.notices
    missing = "、".join(translated(lack, "zh") for lack in lacking("gpen", tmp_path))
    assert translated(notice, "zh") == f"无法使用画质增强 gpen，缺少 {missing}；使用次优方式。"
    assert "文件" in missing

    with pytest.raises(NoFace) as refused:
        select(
            PhotoReport((photo("a.jpg", PhotoOutcome.NO_FACE), photo("b.jpg", PhotoOutcome.BLURRED)), "nobody's", ())
        )
    assert translated(refused.value.message, "zh") == "没有可用于训练的照片（a.jpg：没有人脸；b.jpg：模糊）。"
    assert translated("Something nobody wrote down.", "zh") == "Something nobody wrote down."


def lacking(backend: str, models: Path) -> list[str]:
    return next(b for b in registry.BACKENDS if b.name == backend).missing(models)


def photo(name: str, verdict: PhotoOutcome) -> PhotoVerdict:
    return PhotoVerdict(name, "", verdict, "")


def test_every_verdict_has_a_word() -> None:
    assert all(texts.say(verdict.value, "zh") != texts.say(verdict.value, "en") for verdict in PhotoOutcome)
    assert all(translated(verdict.value, "zh") != verdict.value for verdict in PhotoOutcome)


def test_chinese_has_its_own_punctuation() -> None:
    """Half-width marks beside a Chinese letter look like slips; formulas and lists of a command keep them."""
    pairs = json.loads((PACKAGE / "messages" / "zh.json").read_text(encoding="utf-8"))
    slips = re.compile(r"[\u4e00-\u9fff）”][,;:?!](?! )|[,:?!][\u4e00-\u9fff（“]|;")
    assert not {text for text in pairs.values() if slips.search(text)}
