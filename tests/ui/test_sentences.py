"""Every sentence that a user of the tabs can meet has its Chinese, whoever says it and however it came."""

from __future__ import annotations

import re

import pytest

from easyphoto.catalog import Catalog
from easyphoto.config import TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.people import user_id
from easyphoto.training.photos import Verdict
from easyphoto.ui import texts
from easyphoto.ui.sentences import read, told
from tests.ui.sentences import sentences

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLACE = re.compile(r"\{(\d+)\}")


def filled(template: str) -> str:
    """The template with something in each place that no template is made of."""
    return PLACE.sub(lambda place: f"<{place[1]}>", template)


def test_every_sentence_in_the_source_has_its_chinese() -> None:
    found, known = sentences(), read()
    assert len(found) > 200
    assert not {text: where for text, where in found.items() if text not in known}


def test_a_sentence_is_recognised_and_keeps_what_was_put_in() -> None:
    for english, chinese in read().items():
        said = told(filled(english), "zh")
        assert said == filled(chinese), f"another template takes {english!r}"
        assert set(PLACE.findall(chinese)) <= set(PLACE.findall(english)), english
        assert CHINESE.search(chinese) or not re.search(r"[a-z]{3} [a-z]{3}", english), english
        assert told(filled(english), "en") == filled(english)


def test_what_the_catalog_says_has_its_chinese() -> None:
    catalog, known = Catalog.load(), read()
    spoken = {a.what for a in catalog.assets.values()} | {b.what for b in catalog.bundles.values()}
    spoken |= {a.licence for a in catalog.assets.values() if re.search(r"[a-z] [a-z]", a.licence)}
    assert not spoken - set(known)


def test_sentences_as_they_are_met() -> None:
    for raising, expected in (
        (lambda: user_id(""), "用户 ID 为空：请输入人物的名字。"),
        (lambda: user_id("a/b"), "用户 ID 不能包含 /。"),
        (lambda: TrainConfig(rank=0), "rank 必须在 1 到 512 之间，不能是 0。"),
    ):
        with pytest.raises(InvalidRequest) as error:
            raising()
        assert told(str(error.value), "zh") == expected


def test_sentences_within_sentences_and_after_one_another() -> None:
    assert told("A photo was left out: a.jpg is not a picture that can be read.", "zh") == (
        "忽略了一张照片：a.jpg 不是可读取的图片。"
    )
    two = "a.onnx could not be downloaded: x.org can't be reached; y.org answered 404. The training was stopped."
    assert told(two, "zh") == "a.onnx 下载失败：无法连接 x.org；y.org 返回了状态 404。训练已停止。"
    lacks = "The enhancer gpen can't be used because the package onnxruntime, the file G.onnx is missing; "
    lacks += "the next best serves."
    assert told(lacks, "zh") == "无法使用画质增强 gpen，缺少 Python 包 onnxruntime、文件 G.onnx；使用次优方式。"
    refused = "None of the photos can be trained on (a.jpg: no face; b.jpg: blurred)."
    assert told(refused, "zh") == "没有可用于训练的照片（a.jpg：没有人脸；b.jpg：模糊）。"
    assert told("Something nobody wrote down.", "zh") == "Something nobody wrote down."


def test_every_verdict_has_a_word() -> None:
    assert all(texts.say(verdict.value, "zh") != texts.say(verdict.value, "en") for verdict in Verdict)
