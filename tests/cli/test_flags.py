"""Tests that the flags are the declared fields, and that a mistake ends with one sentence and its status."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from easyphoto.cli import arguments, flags
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


def test_help_loads_nothing_that_only_a_command_needs() -> None:
    """It takes a quarter of a second; each of these would take a good part of another."""
    code = "import sys; from easyphoto.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    heavy = {"numpy", "PIL", "cv2", "tqdm", "easyphoto.catalog", "easyphoto.service"}
    code += f"print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "Exit statuses" in done.stdout


@pytest.mark.parametrize("cls", [TrainConfig, PortraitConfig])
def test_both_spellings_of_every_flag(cls: type) -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser, cls)
    for d in declared(cls):
        hyphen = d.name.replace("_", "-")
        if d.type is bool:
            for spelling in (f"--no-{hyphen}", f"--no-{d.name}", f"--no_{d.name}"):
                assert flags.chosen(parser.parse_args(arguments.hyphens([spelling]))) == {d.name: False}
        else:
            value = str(d.param.choices[0] if d.param.choices else d.param.minimum if d.type is not str else "a_b")
            value = value.removesuffix(".0") if d.type is int else value
            expected = {d.name: d.type(value)}
            for spelling in ([f"--{hyphen}={value}"], [f"--{d.name}={value}"], [f"--{hyphen}", value]):
                assert flags.chosen(parser.parse_args(arguments.hyphens(spelling))) == expected
    shown = parser.format_help()
    assert "e+" not in shown and f"--{hyphen}" in shown


def test_options_have_both_spellings_but_values_and_what_follows_two_hyphens_have_one() -> None:
    given = ["train", "a_b", "--max_train_steps", "9", "--template=a_b.png", "--no_validation", "--", "--x_y.jpg"]
    assert arguments.hyphens(given) == [
        "train", "a_b", "--max-train-steps", "9", "--template=a_b.png", "--no-validation", "--", "--x_y.jpg",
    ]  # fmt: skip


def test_help_costs_a_third_of_a_second_at_most() -> None:
    code = (
        "import resource, runpy, sys; sys.argv = ['easyphoto', '--help']\n"
        "try: runpy.run_module('easyphoto', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "u = resource.getrusage(resource.RUSAGE_SELF); sys.stderr.write(str(u.ru_utime + u.ru_stime))\n"
    )
    pytest.importorskip("resource")
    costs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr)
        for _ in range(3)
    ]
    assert min(costs) < 0.35, costs
