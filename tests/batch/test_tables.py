"""Tables of every kind, right and wrong: each fault in one list with its line, and nothing is trusted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from easyphoto.batch import table
from easyphoto.errors import InvalidRequest
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto
from tests.acting import trained
from tests.batch.asking import checked, sentences

WRONG = """\
user;template;seed;first_denoising_strength;colour;output
ada;templates/template-0.png;5;0,45;;a

nobody;templates/template-0.png;5;0.45;;b
ada;templates/none.png;;;;c
ada;no-such-preset;x;7;;d
ada;templates/template-0.png;5;0,45;;e
ada;templates/template-1.png;5;;;A.png
;templates/template-1.png;99999999999;;red;../x
ada;templates/template-1.png;8;;;f;more
ada;"table.csv";1;;;"g
h"
ada;templates;9;;;"open
"""


def test_ten_kinds_of_wrong_rows_are_one_list_with_lines(service: EasyPhoto, desk: Path) -> None:
    file = desk / "table.csv"
    file.write_text(f"\ufeff{WRONG}", encoding="utf-8")
    assert sentences(service, file) == [
        "Line 1: Unknown parameter: colour.",
        "Line 4: There is no trained person 'nobody': train one or check the name.",
        "Line 5: none.png does not exist.",
        "Line 6: There is no template 'no-such-preset'.",
        "Line 6: seed must be a whole number, not 'x'.",
        "Line 6: first_denoising_strength must be from 0.05 to 1, not 7.0.",
        "Line 7: The same portrait is asked for in line 2.",
        "Line 8: The output name 'A' is taken by line 2.",
        "Line 9: The output name '../x' can't be a file's name on every system: choose another.",
        "Line 9: seed must be from -1 to 4294967295, not 99999999999.",
        "Line 9: Nobody was chosen: pick a user id for at least one face.",
        "Line 10: The value 'more' stands in no column.",
        "Line 11: table.csv is not a picture that can be read; save it as JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.",
        "Line 11: The output name 'g\ufffdh' can't be a file's name on every system: choose another.",
        'Line 13: The quotation mark " that opens here is never closed.',
    ]
    chinese = [translated(fault.sentence(), "zh") for fault in checked(service, file).faults]
    assert chinese[0] == "第 1 行：未知参数：colour。" and chinese[7] == "第 8 行：输出名 'A' 已被第 2 行使用。"
    assert all(sentence.startswith("第 ") for sentence in chinese)


def test_the_same_rows_in_three_languages(service: EasyPhoto, desk: Path) -> None:
    texts = {
        "a.csv": "sep=;\r\nuser;Template;seed;fusion-only;additional_prompt;output\r\n"
        'ada|eve;"templates";5;yes;"two\r\nlines";name\r\n;;;;;\r\neve;grace-hopper;;;;\r\n',
        "a.jsonl": '{"user": ["ada", "eve"], "template": "templates", "seed": 5, "fusion_only": true, '
        '"additional_prompt": "two\\r\\nlines", "output": "name"}\n\n{"user_ids": "eve", "preset": "grace-hopper"}\n',
        "a.yaml": "- user: [ada, eve]\n  template: templates\n  seed: 5\n  fusion_only: yes\n"
        '  additional_prompt: "two\\r\\nlines"\n  output: name\n- {user: eve, template: grace-hopper, seed: ~}\n',
    }
    for name, text in texts.items():
        file = desk / name
        file.write_text(text, encoding="utf-8", newline="")
        found = checked(service, file)
        assert not found.faults, name
        first, second = found.orders
        assert (first.user_ids, first.config.seed, first.config.fusion_only) == (("ada", "eve"), 5, True), name
        assert (first.config.additional_prompt, first.output, first.portraits) == ("two\r\nlines", "name", 2), name
        assert (second.user_ids, second.config.seed, second.output) == (("eve",), -1, ""), name
        assert second.templates[0].name == "grace_hopper", name


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.csv", "user\n张伟\n".encode("gbk"),
         "a.csv is not written in UTF-8: save it as UTF-8 (in Excel: CSV UTF-8) and give it again."),
        ("a.csv", "user\nada\n".encode("utf-16"),
         "a.csv is not written in UTF-8: save it as UTF-8 (in Excel: CSV UTF-8) and give it again."),
        ("a.csv", b"", "There are no rows in a.csv."),
        ("a.csv", b"user,template\n\n , \n", "There are no rows in a.csv."),
        ("a.jsonl", b"\n", "There are no rows in a.jsonl."),
        ("a.yaml", b"user: ada\n", "a.yaml is no list of rows: begin each row with a hyphen."),
        ("a.yaml", b"just a text", "a.yaml is no list of rows: begin each row with a hyphen."),
        ("a.yaml", b"- {user: ada}\n---\n- {user: eve}\n",
         "a.yaml holds several documents: write all rows into one list."),
        ("a.xlsx", b"PK", "a.xlsx is no table: give a file that ends in .csv, .tsv, .jsonl, .ndjson, .yaml, .yml."),
    ],
)  # fmt: skip
def test_what_is_no_table_is_one_sentence(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidRequest) as refused:
        table.read(tmp_path / name)
    assert str(refused.value) == sentence


BOMB = "- &a {user: ada}\n" + "".join(f"- &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (BOMB, ["Anchors and aliases (& and *) are not taken here: write the values out."] * 10),
        (
            "- !!python/object/apply:os.system ['touch hacked']\n",
            ["Tags (!) are not taken here: write the plain value."],
        ),
        ("- user: !!python/name:os.system\n", ["Tags (!) are not taken here: write the plain value."]),
        ("- just a text\n- 5\n", ["A row is names and values: user: ada."] * 2),
        ("- {user: ada, user: eve}\n", ["'user' stands there twice."]),
        ("- {template: {a: b}}\n", ["template must be one value or a list of them."]),
        ("- {user: ada\n", ["This is no YAML: did not find expected ',' or '}'."]),
        ("- " + "[" * 5000, ["This is no YAML: exceeded maximum nesting depth."]),
    ],
)
def test_yaml_that_is_more_than_rows(
    tmp_path: Path, text: str, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = table.parse(text.encode(), "yaml", "a.yaml")
    assert [fault.message for fault in read.faults] == faults and not read.rows
    assert not list(tmp_path.iterdir())


def test_json_lines_that_are_more_than_rows() -> None:
    lines = ["[1]", '{"seed": 1, "seed": 2}', '{"seed": NaN}', "[" * 100_000, "{", '{"user": "ada"}']
    read = table.parse("\n".join(lines).encode(), "jsonl", "a.jsonl")
    assert [fault.sentence() for fault in read.faults] == [
        "Line 1: A row is one JSON object in braces.",
        "Line 2: This is no JSON: 'seed' stands there twice.",
        "Line 3: This is no JSON: NaN is no number.",
        "Line 4: This is no JSON: it is nested too deeply.",
        "Line 5: This is no JSON: Expecting property name enclosed in double quotes at character 2.",
    ]
    assert [row.line for row in read.rows] == [6]


def test_json_is_as_strict_as_a_single_request(service: EasyPhoto, desk: Path) -> None:
    file = desk / "a.jsonl"
    file.write_text('{"user": "ada", "template": "templates", "seed": "5", "fusion_only": 1, "lora_weights": [1]}\n')
    assert sentences(service, file) == [
        "Line 1: seed must be a whole number, not '5'.",
        "Line 1: fusion_only must be true or false, not 1.",
        "Line 1: lora_weights must be a number, not '[1]'.",
    ]


@pytest.mark.thorough
def test_ten_thousand_rows_are_checked_in_seconds(service: EasyPhoto, desk: Path) -> None:
    for number in range(20):
        trained(service, f"person {number}")
    rows = (
        f"person {i % 20},templates/template-{i % 2}.png,{i},{20 + i % 30},0.{i % 9 + 1},name {i}"
        for i in range(10_000)
    )
    file = desk / "large.csv"
    file.write_text("user,template,seed,first_diffusion_steps,lora_weights,output\n" + "\n".join(rows))
    began = time.process_time()
    found = checked(service, file)
    took = time.process_time() - began
    assert (len(found.orders), found.faults) == (10_000, ())
    assert took < 5, f"{took:.1f} s of this processor"


@pytest.mark.parametrize("name", ["x" * 300, f"{'x' * 300}.png", f"{'x' * 300}/a.png", "y" * 5000, "/dev/zero"])
def test_a_template_that_no_system_can_look_for_is_a_fault_of_its_row(
    service: EasyPhoto, desk: Path, name: str
) -> None:
    (desk / "long.csv").write_text(f"user,template\nada,templates/template-0.png\nada,{name}\neva,templates\n")
    found = sentences(service, desk / "long.csv")
    assert [sentence[:7] for sentence in found] == ["Line 3:", "Line 4:"], found
