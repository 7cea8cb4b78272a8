"""Run a training script as it is and time the steps of its optimiser, whoever wrote it.

    python -m benchmarks.stopwatch RESULT.json SCRIPT [ARGUMENTS ...]
    python -m benchmarks.stopwatch RESULT.json -m MODULE [ARGUMENTS ...]

Nothing of the script is changed: torch calls back after each step of any optimiser. RESULT.json gets, for the steps
after the first two (which allocate and choose kernels), the median CPU seconds of the process and wall seconds, and the
largest memory that the process ever had.
"""

from __future__ import annotations

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
    if not arguments[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    from torch.optim.optimizer import register_optimizer_step_post_hook

    marks: list[tuple[float, float]] = []

    def mark(optimizer: Any, args: Any, kwargs: Any) -> None:
        marks.append((time.process_time(), time.perf_counter()))

    register_optimizer_step_post_hook(mark)
    result, script, *rest = arguments
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
    Path(result).write_text(json.dumps(_summary(marks), indent=1), encoding="utf-8")
    return 0


def _summary(marks: list[tuple[float, float]]) -> dict[str, Any]:
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks[WARM - 1 :], marks[WARM:], strict=False)]
    cpu, wall = [s[0] for s in steps], [s[1] for s in steps]
    return {
        "steps": len(steps),
        "cpu_seconds": statistics.median(cpu) if cpu else None,
        "cpu_spread": [min(cpu), max(cpu)] if cpu else None,
        "wall_seconds": statistics.median(wall) if wall else None,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
