"""The whole program, killed with SIGKILL at random moments of a real training and a real portrait, loses nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.people import PeopleStore
from easyphoto.ports import Image
from easyphoto.storage.folders import WORKER_LOCK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.name == "nt", reason="signals"),
]
KILLS = int(os.environ.get("EASYPHOTO_KILLS", "5"))
SHORT = ("--max-train-steps", "2", "--val-and-checkpointing-steps", "1", "--rank", "2", "--network-alpha", "2",
         "--resolution", "64", "--no-validation", "--no-skin-retouching-bool")  # fmt: skip
FEW = ("--first-diffusion-steps", "2", "--second-diffusion-steps", "2", "--seed", "3")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "easyphoto", *arguments]
    return subprocess.Popen(
        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def whole(*arguments: str) -> tuple[str, float]:
    """Standard output of a command that must go well, and how long it took."""
    began = time.monotonic()
    process = start(*arguments)
    out, told = process.communicate()
    assert process.returncode == 0, told.decode()[-2000:]
    return out.decode(), time.monotonic() - began


def killed(seconds: float, *arguments: str) -> None:
    process = start(*arguments)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def photos(folder: Path, image: Image, first: int) -> Path:
    for number in range(first, first + 3):
        pictures.save_png(folder / f"{number}.png", image[number * 3 :, number * 4 :])
    return folder


def settled(paths: Paths) -> None:
    """Wait until a trainer whose parent was killed has noticed and left."""
    folder = paths.people / "ann" / "job"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not (folder / WORKER_LOCK).exists() or _free(folder):
            return
        time.sleep(0.5)


def _free(folder: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / WORKER_LOCK, timeout=0):
            return True
    except Timeout:
        return False


def at_random_moments(seconds: float, kill: Callable[[float], None], check: Callable[[], None]) -> None:
    moments = random.Random(1)
    for _ in range(KILLS):
        kill(moments.uniform(0.2, seconds))
        check()


def test_kill_9_in_a_training_and_in_a_portrait(paths: Paths, tmp_path: Path, astronaut: Image) -> None:
    data = ("--data", str(paths.outputs.parent))
    old, new = photos(tmp_path / "old", astronaut, 0), photos(tmp_path / "new", astronaut, 5)
    _, seconds = whole("train", "ann", str(old), *SHORT, *data)
    person = PeopleStore(paths).get("ann")
    before = person.lora.read_bytes()

    def as_it_was() -> None:
        settled(paths)
        (listed,) = json.loads(whole("people", "list", "--json", *data)[0])
        assert listed["user_id"] == "ann" and not listed.get("fault"), listed
        now = PeopleStore(paths).get("ann")
        assert now.fault == "" and now.lora.is_file() and now.reference.is_file()
        pictures.load(now.reference)
        assert now.lora.read_bytes() == before or json.loads((now.folder / "person.json").read_text())

    at_random_moments(seconds, lambda at: killed(at, "train", "ann", str(new), *SHORT, *data), as_it_was)
    whole("train", "ann", str(new), *SHORT, *data)

    template = tmp_path / "template.png"
    pictures.save_png(template, astronaut)
    portrait = ("generate", "--user", "ann", str(template), *FEW, *data)
    _, seconds = whole(*portrait)
    made = set(paths.portraits.rglob("*.png"))
    assert made

    def portraits_are_whole() -> None:
        for path in paths.portraits.rglob("*.png"):
            pictures.load(path)
        assert made <= set(paths.portraits.rglob("*.png"))
        assert PeopleStore(paths).get("ann").fault == ""

    at_random_moments(seconds, lambda at: killed(at, *portrait), portraits_are_whole)
    whole(*portrait)
