"""Run a training script as it is and time the steps of its optimiser, whoever wrote it.

    python -m benchmarks.stopwatch [--warm 2] RESULT.json SCRIPT [ARGUMENTS ...]
    python -m benchmarks.stopwatch [--warm 2] RESULT.json -m MODULE [ARGUMENTS ...]
    python -m benchmarks.stopwatch --ratio RESULT.json OTHER.json

Nothing of the script is changed: torch calls back after each step of any optimiser. RESULT.json gets, for the steps
after the first two (which allocate and choose kernels), the median CPU seconds of the process and wall seconds; then
the CPU seconds of every step but the first, how many numbers are trained, and the largest memory that the process ever
had. It is written after every step, so a run that is stopped leaves what it had. ``--ratio`` prints how the CPU seconds
of two results compare, and how many numbers each trains.
"""

from __future__ import annotations

import itertools
import json
import resource
import runpy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

WARM = 2


def main(arguments: list[str]) -> int:
    compares = arguments[:1] == ["--ratio"]
    if not arguments[1:] or (compares and len(arguments) != 3):
        print(__doc__, file=sys.stderr)
        return 2
    if compares:
        ours, theirs = (json.loads(Path(a).read_text(encoding="utf-8")) for a in arguments[1:])
        print(ratio(ours, theirs))
        return 0
    warm = WARM
    if arguments[0] == "--warm":
        warm, arguments = int(arguments[1]), arguments[2:]
    from torch.optim.optimizer import register_optimizer_step_post_hook

    result, script, *rest = arguments
    file = Path(result).resolve()
    marks: list[tuple[float, float]] = []
    trained: set[int] = set()
    numbers = 0

    def record() -> None:
        found = _summary(marks, warm) | {"trained_numbers": numbers}
        file.write_text(json.dumps(found, indent=1), encoding="utf-8")

    def mark(optimizer: Any, args: Any, kwargs: Any) -> None:
        nonlocal numbers
        marks.append((time.process_time(), time.perf_counter()))
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                if tensor.grad is not None and id(tensor) not in trained:
                    trained.add(id(tensor))
                    numbers += tensor.numel()
        record()

    record()
    hook = register_optimizer_step_post_hook(mark)
    module = script == "-m"
    name, *rest = rest if module else [script, *rest]
    sys.argv = [name, *rest]
    try:
        if module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(name).resolve().parent))
            runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        hook.remove()
    return 0


def _summary(marks: list[tuple[float, float]], warm: int) -> dict[str, Any]:
    every = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]
    steps = every[max(warm, 1) - 1 :]
    cpu, wall = [s[0] for s in steps], [s[1] for s in steps]
    return {
        "steps": len(steps),
        "cpu_seconds": statistics.median(cpu) if cpu else None,
        "cpu_spread": [min(cpu), max(cpu)] if cpu else None,
        "cpu_each": [s[0] for s in every],
        "wall_seconds": statistics.median(wall) if wall else None,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Return the ratio of the medians, what it is between the steps that are furthest apart, and both counts."""
    (low, high), (other_low, other_high) = ours["cpu_spread"], theirs["cpu_spread"]
    middle = ours["cpu_seconds"] / theirs["cpu_seconds"]
    counts = f"{ours['trained_numbers']:,} and {theirs['trained_numbers']:,} trained numbers"
    return f"{middle:.2f} ({low / other_high:.2f} to {high / other_low:.2f}), {counts}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
