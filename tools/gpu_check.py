"""Measure EasyPhoto on a graphics card, with models of random numbers, in one run of some minutes.

    python tools/gpu_check.py OUT [--device cuda] [--tiny] [--seconds 430] [--only PART ...] [--list]

It needs torch, diffusers, transformers, accelerate, peft and opencv, about 14 GB of disk,
and no network, no weights and no packages that find faces: faces are played. ``--tiny --device cpu`` tries it on a
processor with small models; its numbers mean nothing.

``OUT/results.json`` is written after every part. A part that fails leaves its traceback there, one that takes too long
or crashes is ended, and the next one goes on. ``OUT/profile.txt`` has the tables of the profiler, ``OUT/tests.txt`` the
tests, and ``OUT/log.txt`` what the libraries said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, LOG = "results.json", "log.txt"
GROUPS = ("training-process", "passes", "portraits", "plans-drawing", "profile-drawing", "steps", "plans-training",
          "profile-training")  # fmt: skip
PARTS = (
    "machine",
    *(f"sd1-{group}" for group in GROUPS),
    "tests",
    *(f"sdxl-{group}" for group in (*GROUPS[1:], GROUPS[0])),
)
"""All parts, the most wanted first. Those of a family follow one another, because they share a loaded model."""
LIMITS = {"machine": 60.0, "tests": 90.0, "training-process": 120.0}
LIMIT = 90.0
"""The seconds that a part may take on a card."""
SLOWER = 5.0
"""How much more time a processor gets."""


class Results:
    """The results by part in ``results.json``, which is whole after every change."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESULTS

    def read(self) -> dict[str, Any]:
        if not self._path.is_file():
            return {}
        found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        return found

    def add(self, part: str, value: Mapping[str, Any]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({**self.read(), part: value}, indent=1, ensure_ascii=False), encoding="utf-8")
        fresh.replace(self._path)


def watch(options: argparse.Namespace) -> None:
    """Have the parts measured by a child, and start another one behind a part that hung or crashed."""
    results, left, deadline = Results(options.out), list(options.only), time.monotonic() + options.seconds
    while left:
        if time.monotonic() >= deadline:
            for part in left:
                results.add(part, {"error": f"not begun within {options.seconds:g} s"})
                print(f"{part}: not begun", flush=True)
            return
        left = _round(options, results, left, deadline)


def _round(options: argparse.Namespace, results: Results, parts: Sequence[str], deadline: float) -> list[str]:
    """Run one child over ``parts`` until it ends or has to be ended, and return the parts that are left."""
    command = [sys.executable, "-m", "benchmarks.card", str(options.out), "--device", options.device,
               "--work", str(options.work), *(["--tiny"] if options.tiny else []), "--only", *parts]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (options.out / LOG).open("ab") as log:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    left = list(parts)
    try:
        fault, running = _follow(child, options.device, results, left, deadline)
    finally:
        _end(child)
    if left:
        failed = running if running in left else left[0]
        results.add(failed, {"error": fault})
        print(f"{failed}: {fault}", flush=True)
        left.remove(failed)
    return left


def _follow(
    child: subprocess.Popen[str], device: str, results: Results, left: list[str], deadline: float
) -> tuple[str, str]:
    """Take every part that the child ends out of ``left``. Return why the following ended, and the part that ran."""
    assert child.stdout is not None
    lines, running = _lines(child.stdout), ""
    until = min(time.monotonic() + LIMIT, deadline)
    while True:
        try:
            line = lines.get(timeout=max(until - time.monotonic(), 0.01))
        except queue.Empty:
            return "ended: it took too long", running
        if line is None:
            return f"the process ended with status {child.wait()}", running
        told = _told(line)
        if "begin" in told:
            running = told["begin"]
            until = min(time.monotonic() + _limit(running, device), deadline)
        elif "end" in told:
            part = told.pop("end")
            results.add(part, told)
            left.remove(part)
            until = min(time.monotonic() + LIMIT, deadline)
            print(f"{part}: {_summary(told)}", flush=True)


def _told(line: str) -> dict[str, Any]:
    """Return what the child says in a line. Libraries may print there too, which says nothing."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _limit(part: str, device: str) -> float:
    seconds = LIMITS.get(part, LIMITS.get(part.partition("-")[2], LIMIT))
    return seconds if device.startswith("cuda") else seconds * SLOWER


def _lines(stream: IO[str]) -> queue.Queue[str | None]:
    """Return a queue that gets each line of the stream, and None at its end."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            found.put(line)
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    return found


def _end(child: subprocess.Popen[str]) -> None:
    """End the child with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _summary(value: Mapping[str, Any]) -> str:
    failed = value.get("error", "").strip().splitlines()
    return f"{value['seconds']:g} s{', ' + failed[-1] if failed else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="the folder of the results")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and pictures")
    parser.add_argument("--seconds", type=float, default=430.0, help="how long all parts may take together")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--work", type=Path, help="where the models are written; a folder that is removed if not given")
    parser.add_argument("--list", action="store_true", help="name the parts")
    options = parser.parse_args()
    if options.list:
        print("\n".join(PARTS))
        return 0
    if options.out is None:
        parser.error("name the folder of the results")
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    # Whoever ends this process ends its child too, and removes the models.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() if options.work is None else contextlib.nullcontext(options.work) as work:
        options.work = Path(work).resolve()
        watch(options)
    failed = [part for part, value in Results(options.out).read().items() if "error" in value]
    print(f"failed: {', '.join(failed)}" if failed else "all parts ran")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
