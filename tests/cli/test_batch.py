"""Tests of ``batch`` as a process of its own, on the model that ships: nothing is made twice, whatever ends it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.cli import endings
from easyphoto.config import Paths
from easyphoto.people import PeopleStore
from easyphoto.ports import Image

PROGRAM = [sys.executable, "-m", "easyphoto"]
ROWS = 4


def bench_person(paths: Paths, name: str, photo: Image) -> None:
    """Put somebody there as a training on the model that ships leaves them; the LoRA changes nothing."""
    folder = paths.people / name
    for path in (folder / "ref_image.jpg", folder / "processed_images" / "train" / "0.jpg"):
        pictures.save_jpg(path, photo)
    marks = {"family": "bench", "base_model": "bench", "likeness": 0.8, "embedder": "dlib-resnet", "works": True}
    pictures.write_bytes(folder / "person.json", json.dumps(marks).encode())
    module, sizes, end = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", {}, 0
    for part, shape in {"lora_down.weight": [2, 128], "lora_up.weight": [128, 2], "alpha": []}.items():
        start, end = end, end + 2 * math.prod(shape)
        sizes[f"{module}.{part}"] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps({"__metadata__": {"ss_base_model_version": "easyphoto_bench"}, **sizes}).encode()
    pictures.write_bytes(paths.loras / f"{name}.safetensors", len(header).to_bytes(8, "little") + header + bytes(end))


@pytest.fixture
def desk(paths: Paths, tmp_path: Path, astronaut: Image, grace_hopper: Image) -> Path:
    """A table with a row for each of some small templates, and somebody to put onto them."""
    bench_person(paths, "ann", astronaut[:300, 80:380].copy())
    desk = tmp_path / "desk"
    small = pictures.load(_small(desk / "grace.png", grace_hopper))
    for number in range(ROWS):
        pictures.save_png(desk / "templates" / f"{number}.png", small[:, number * 2 :].copy())
    rows = [f"ann,templates/{number}.png,yes,row {number}" for number in range(ROWS)]
    (desk / "orders.csv").write_text("\n".join(["user,template,fusion_only,output", *rows]))
    return desk


def _small(path: Path, image: Image) -> Path:
    import cv2

    pictures.save_png(path, cv2.resize(image, (256, 300), interpolation=cv2.INTER_AREA))
    return path


def start(paths: Paths, *arguments: str) -> subprocess.Popen[str]:
    command = [*PROGRAM, "batch", *arguments, "--data", str(paths.outputs.parent)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")


def run(paths: Paths, *arguments: str) -> tuple[int, str, str]:
    process = start(paths, *arguments)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def folder_of(paths: Paths) -> Path:
    return paths.portraits / "batch-orders"


def pixels(folder: Path) -> dict[str, bytes]:
    return {path.name: pictures.load(path).tobytes() for path in sorted(folder.glob("*.png"))}


def wait_for_portraits(paths: Paths, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder_of(paths).glob("*.png"))) < count and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_whatever_ends_a_batch_every_row_is_there_once_and_the_same(paths: Paths, desk: Path, tmp_path: Path) -> None:
    table = str(desk / "orders.csv")
    calm = Paths.standalone(tmp_path / "calm")
    shutil.copytree(paths.outputs.parent, calm.outputs.parent)
    status, out, err = run(calm, table)
    assert status == 0, err
    assert out.startswith(f"{ROWS} made, 0 there already, 0 failed. See ")
    undisturbed = pixels(folder_of(calm))
    assert set(undisturbed) == {f"row {number}.png" for number in range(ROWS)}

    stopped = start(paths, table)
    wait_for_portraits(paths, stopped, 1)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert f"of {ROWS} are there; start it again to make the rest." in err
    kept = len(pixels(folder_of(paths)))
    assert 1 <= kept < ROWS and (folder_of(paths) / "report.html").is_file()

    killed = start(paths, table)
    wait_for_portraits(paths, killed, kept + 1)
    killed.kill()
    killed.communicate()

    status, out, err = run(paths, table)
    assert status == 0, err
    assert pixels(folder_of(paths)) == undisturbed
    status, out, err = run(paths, table, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert (status, told[-1]["kind"]) == (0, "finished")
    assert (told[-1]["result"]["made"], told[-1]["result"]["there"]) == (0, ROWS)
    assert [line["fresh"] for line in told if line["kind"] == "portrayed"] == [False] * ROWS
    assert pixels(folder_of(paths)) == undisturbed


@pytest.mark.thorough
def test_a_dry_run_and_a_wrong_table_begin_nothing(paths: Paths, desk: Path) -> None:
    status, out, err = run(paths, str(desk / "orders.csv"), "--dry-run")
    assert status == 0, err
    first, second, third = out.splitlines()
    assert first == f"{ROWS} portraits: 0 are there, {ROWS} are to be made."
    assert second == "How long that takes is not known: too few were made on this base model."
    assert third.startswith("It takes at most 1 MB of disk; ")
    (desk / "wrong.csv").write_text("user,template,seed\neve,templates/0.png,1\nann,templates/0.png,one\n")
    status, out, err = run(paths, str(desk / "wrong.csv"))
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "Line 2: There is no trained person 'eve': train one or check the name.",
        "Line 3: seed must be a whole number, not 'one'.",
        "easyphoto: Nothing was begun; wrong rows in wrong.csv: 2.",
    ]
    assert not paths.portraits.exists()


@pytest.mark.thorough
def test_failed_rows_have_a_documented_status(paths: Paths, desk: Path) -> None:
    pictures.save_png(desk / "templates" / "0.png", pictures.load(desk / "templates" / "1.png")[:60])
    (desk / "orders.csv").write_text("user,template,fusion_only\nann,templates/0.png,1\nann,templates/1.png,1\n")
    status, out, err = run(paths, str(desk / "orders.csv"))
    assert status == 3 and status in endings.statuses()
    assert out.startswith("1 made, 0 there already, 1 failed.")
    assert err.splitlines()[-1] == (
        "easyphoto: 1 of 2 failed; Line 2: No face was found in 0.png. report.html has all of them."
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_folder_of_people_is_trained_once(
    paths: Paths, tmp_path: Path, astronaut: Image, grace_hopper: Image
) -> None:
    for name, photo in (("ann", astronaut), ("grace", grace_hopper)):
        for number in range(3):
            pictures.save_png(tmp_path / "people" / name / f"{number}.png", photo[number * 3 :, number * 4 :].copy())
    short = ("--max-train-steps", "2", "--val-and-checkpointing-steps", "1", "--rank", "2", "--network-alpha", "2",
             "--resolution", "64", "--no-validation", "--no-skin-retouching-bool")  # fmt: skip
    people = ("--train", str(tmp_path / "people"), *short)
    status, out, err = run(paths, *people)
    assert status == 0, err
    assert out.startswith("2 made, 0 there already, 0 failed.")
    loras = {person.user_id: person.lora.read_bytes() for person in PeopleStore(paths).list()}
    assert set(loras) == {"ann", "grace"}
    status, out, err = run(paths, *people)
    assert (status, out[:34]) == (0, "0 made, 2 there already, 0 failed."), err
    assert {person.user_id: person.lora.read_bytes() for person in PeopleStore(paths).list()} == loras
