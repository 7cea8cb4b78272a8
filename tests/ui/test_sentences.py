"""Every sentence that a user of the tabs can meet has its Chinese, whoever says it and however it came."""

from __future__ import annotations

import random
import re
import time

import pytest

from easyphoto.catalog import Catalog
from easyphoto.config import TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.people import user_id
from easyphoto.training.photos import Verdict
from easyphoto.ui import texts
from easyphoto.ui.sentences import LONGEST, read, told
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


def adversarial() -> dict[str, str]:
    """Texts that a stranger could have put into a sentence to keep the program busy."""
    size, draw = 4000, random.Random(7)
    found = {
        "one letter": "a" * size,
        "commas": ", " * size,
        "a list": ", ".join(f"part {i}" for i in range(size)),
        "sentences": " ".join(f"Part {i}." for i in range(size)),
        "joints": "a, b; c and d. " * size,
        "verdicts": "; ".join(f"{i}.jpg: no face" for i in range(size)),
        "nested": "A photo was left out: " * size,
        "letters": "".join(draw.choices("etaoin ,.;:'/(", k=size)),
        "places": "{1} {2}" * size,
    }
    for english in read():
        pieces = PLACE.split(english)[::2]
        found[f"repeated {english}"] = "x".join(pieces) * (size // len(english))
        found[f"almost {english}"] = "".join(piece * (size // len(english)) for piece in pieces) + "!"
    longest = [max(PLACE.split(english)[::2], key=len) for english in read()]
    found["every piece"] = "".join(draw.sample(longest, len(longest)))
    return {name: text[:length] for name, text in found.items() for length in (LONGEST, size)} | {
        f"short {name}": text[: LONGEST - 1] for name, text in found.items()
    }


def test_no_text_costs_more_than_a_moment() -> None:
    told("The templates are read once.", "zh")
    slowest = 0.0
    for text in adversarial().values():
        began = time.thread_time()
        told(text, "zh")
        slowest = max(slowest, time.thread_time() - began)
    assert slowest < 0.01


def test_what_is_unknown_or_endless_stays_as_it_is() -> None:
    endless = "".join(f"p{i}q" for i in range(LONGEST))
    assert told(endless, "zh") == endless
    known = "A photo was left out: a.jpg is not a picture that can be read."
    assert told(known + " " * LONGEST, "zh") == known + " " * LONGEST
    odd = "".join(random.Random(3).choices("etaoin ,.;:'/(", k=LONGEST))
    assert len(told(odd, "zh")) <= len(odd) and told(odd, "en") == odd


def test_what_was_put_in_may_hold_pieces_of_the_sentence() -> None:
    assert told("The LoRA a was trained for b and doesn't fit c, which is d, which is e.", "zh") == (
        "LoRA a 是为 b 训练的，与 d, which is e 模型 c 不匹配。"
    )
    assert told("There is no file There is no file .", "zh") == "文件 There is no file  不存在。"


def test_a_report_of_a_hundred_photos_is_said_whole() -> None:
    listed = "; ".join(f"{i}.jpg: no face" for i in range(100))
    said = told(f"None of the photos can be trained on ({listed}).", "zh")
    assert said.count("没有人脸") == 100 and "no face" not in said
