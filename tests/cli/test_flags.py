"""Flags are the declared fields; mistakes end with a sentence and their status."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from easyphoto.cli import flags
from easyphoto.cli.main import main
from easyphoto.config import PortraitConfig, TrainConfig, declared


@pytest.mark.parametrize("cls", [TrainConfig, PortraitConfig])
def test_every_field_is_a_flag(cls: type) -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser, cls)
    argv: list[str] = []
    wanted = {}
    for d in declared(cls):
        if d.type is bool:
            wanted[d.name] = not d.default
            argv.append(f"--{d.name}" if wanted[d.name] else f"--no-{d.name}")
        else:
            value = (
                d.param.choices[-1] if d.param.choices else d.default or (d.param.maximum if d.type is not str else "x")
            )
            wanted[d.name] = value if d.type is str else d.type(value)
            argv += [f"--{d.name}", str(value)]
    assert flags.chosen(parser.parse_args(argv)) == wanted
    assert flags.chosen(parser.parse_args([])) == {}
    parser.format_help()


def test_a_mistake_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["people", "delete", "../etc"]) == 2
    assert capsys.readouterr().err == "easyphoto: The user id may not contain /.\n"
    assert main(["people", "delete"]) == 2
    with pytest.raises(SystemExit) as usage:
        main(["generate", "--lora_weights", "much"])
    assert usage.value.code == 2


def test_help_and_version_cost_no_torch() -> None:
    code = (
        "import sys; from easyphoto.cli.main import main\ntry: main(['generate', '--help'])\nexcept SystemExit: pass\n"
    )
    code += "import easyphoto.service; assert not {'torch', 'diffusers', 'gradio', 'dlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--before_face_fusion_ratio" in done.stdout
