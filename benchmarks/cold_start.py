"""CPU time and memory from the start of a program to what its user waits for.

    python -m benchmarks.cold_start [--rounds 3] [--before CHECKOUT] [--memory]

Three starts, each of a new process: ``python -m easyphoto --help`` to its end, ``serve`` until the page with the tabs
answers, and ``generate`` on the bench checkpoint until the first step of the sampler is done, with a person who is
trained for one step beforehand. What counts is the CPU time of the process and of its children, with one thread; the
wall time stands beside it, and on a busy machine says nothing. Below a start stands its limit, in turns with it: a
Python that only imports the packages without which there is no page and no step. ``--before`` starts another checkout
of the project in turns with this one. ``--memory`` makes whole portraits of a few steps in place of that, on templates
of 600 and 4096 pixels, and tells the most memory that the process ever had.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import psutil

from benchmarks.portrait_overhead import photographs
from easyphoto import pictures
from easyphoto.vision import geometry

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 3600.0
PAGE, STEP = "the page", "first step"
IMPORTS: Mapping[str, str] = MappingProxyType(
    {
        PAGE: "import gradio, fastapi, uvicorn",
        STEP: "import torch, dlib, cv2; from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel; "
        "from transformers import CLIPTextModel, CLIPTokenizer",
    }
)
"""What a start has to import at the least."""
HEIGHTS = (600, 4096)
"""The templates whose portraits' memory is told: the photograph as it is, and as large as templates may be."""


@dataclass(frozen=True)
class Took:
    """What a start took, in seconds."""

    cpu: float
    wall: float


class Program:
    """The command line of one checkout, with a data folder of its own in which somebody is trained."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        folder.mkdir(parents=True)
        person, template = photographs()
        pictures.save_png(folder / "person.png", person)
        for height in HEIGHTS:
            width = round(template.shape[1] * height / template.shape[0])
            pictures.save_png(folder / f"{height}.png", geometry.resize(template, (height, width)))
        with self._started("train", "person", folder / "person.png", "--max-train-steps", 1, "--no-validation") as made:
            if made.wait(PATIENCE) != 0:
                raise SystemExit(f"The training of one step in {root} failed.")

    def help(self) -> Took:
        """Until ``--help`` has been printed."""
        return self._until(lambda process: process.wait(PATIENCE), "--help", data=False)

    def page(self) -> Took:
        """Until the page with the tabs answers."""
        return self._until(_page_answers, "serve", "--json", "--port", 0)

    def first_step(self) -> Took:
        """Until the first step of the sampler is done."""
        return self._until(_sampler_stepped, "generate", "--json", "--user", "person", self._folder / "600.png")

    def peak(self, height: int) -> int:
        """Return the most bytes that a portrait on a template of this height took."""
        few = ("--first-diffusion-steps", 4, "--second-diffusion-steps", 4)
        with self._started("generate", "--user", "person", self._folder / f"{height}.png", *few) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"The portrait on a template of {height} pixels failed.")
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _until(self, reached: Callable[[subprocess.Popen[str]], object], *command: object, data: bool = True) -> Took:
        begin, before = time.perf_counter(), _of_ended_children()
        with self._started(*command, data=data) as process:
            try:
                reached(process)
                # A process that has ended is counted among the children that were waited for.
                cpu = _of_running(process.pid) + _of_ended_children() - before
                return Took(cpu, time.perf_counter() - begin)
            finally:
                process.terminate()

    def _started(self, *command: object, data: bool = True) -> subprocess.Popen[str]:
        where = ("--data", str(self._folder)) if data else ()
        given = ["-m", "easyphoto", *map(str, command[:1]), *where, *map(str, command[1:])]
        return _python(*given, root=self._root)


def imported(packages: str) -> Took:
    """Until a new Python has done these imports."""
    begin, before = time.perf_counter(), _of_ended_children()
    with _python("-c", packages) as process:
        if process.wait(PATIENCE) != 0:
            raise SystemExit(f"{packages}: failed.")
    return Took(_of_ended_children() - before, time.perf_counter() - begin)


def _python(*given: str, root: Path = ROOT) -> subprocess.Popen[str]:
    """A new Python with one thread, which finds the project in ``root``."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *given],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _of_ended_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _of_running(pid: int) -> float:
    """CPU seconds of a process that runs and of all that it started; 0 of one that has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        spent = [one.cpu_times() for one in (parent, *parent.children(recursive=True))]
        return sum(one.user + one.system for one in spent) + spent[0].children_user + spent[0].children_system
    return 0.0


def _page_answers(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("The server ended before its page could be asked for.")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(json.loads(line)["listening"], timeout=PATIENCE) as answer:
        answer.read()


def _sampler_stepped(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if told.get("kind") == "progress" and told.get("stage") == "first" and told.get("step", 0) > 0:
            return
    raise SystemExit("The portrait ended before its first step.")


def told(name: str, took: Sequence[Took]) -> None:
    """Print one row: the median with its spread."""
    cpu, wall = [one.cpu for one in took], [one.wall for one in took]
    print(f"{name}: {statistics.median(cpu):.2f} s CPU ({min(cpu):.2f} to {max(cpu):.2f}), "
          f"{statistics.median(wall):.2f} s wall ({min(wall):.2f} to {max(wall):.2f})", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="another checkout of the project, started in turns with this one")
    parser.add_argument("--memory", action="store_true", help="the memory of whole portraits instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        programs = {"now": Program(ROOT, Path(folder) / "now")}
        if options.before is not None:
            programs["before"] = Program(options.before.resolve(), Path(folder) / "before")
        if options.memory:
            for height in HEIGHTS:
                for name, program in programs.items():
                    print(f"template of {height} pixels, {name}: {program.peak(height) / 1e9:.2f} GB", flush=True)
            return
        for what, start in (("--help", Program.help), (PAGE, Program.page), (STEP, Program.first_step)):
            starts: dict[str, Callable[[], Took]] = {name: partial(start, one) for name, one in programs.items()}
            if what in IMPORTS:
                starts["its imports alone"] = partial(imported, IMPORTS[what])
            rounds = [{name: begin() for name, begin in starts.items()} for _ in range(options.rounds)]
            for name in starts:
                told(f"{what}, {name}", [one[name] for one in rounds])


if __name__ == "__main__":
    main()
