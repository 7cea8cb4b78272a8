"""The process that measures: ``python -m benchmarks.card OUT --device D --work FOLDER --only PART ...``.

``tools/gpu_check.py`` starts it, and starts another one behind a part that hung or crashed. It says on its output, in a
line of JSON each, which part begins, and what came of it at its end.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.card import drawing, machine, training
from benchmarks.card.setting import Setting
from easyphoto.config import Family

PROFILE = "profile.txt"
FAMILY_PARTS: dict[str, Callable[[Setting, Family], Any]] = {
    "training-process": training.whole,
    "passes": drawing.passes,
    "portraits": drawing.portraits,
    "plans-drawing": drawing.plans,
    "profile-drawing": drawing.profiled,
    "steps": training.steps,
    "plans-training": training.plans,
    "profile-training": training.profiled,
}
MACHINE_PARTS: dict[str, Callable[[Setting], Any]] = {"machine": machine.described, "tests": machine.suite}


def measure(setting: Setting, part: str) -> Any:
    """Measure one part and return what came of it. The tables of a profile are added to their file."""
    if part in MACHINE_PARTS:
        return MACHINE_PARTS[part](setting)
    family, _, group = part.partition("-")
    made = FAMILY_PARTS[group](setting, Family(family))
    if not isinstance(made, tuple):
        return made
    told, table = made
    with (setting.out / PROFILE).open("a", encoding="utf-8") as file:
        file.write(f"== {part} {json.dumps(told)}\n{table}\n\n")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", nargs="+", required=True)
    options = parser.parse_args()
    setting = Setting(options.device, options.work, options.out, options.tiny)
    for part in options.only:
        _say({"begin": part})
        begin = time.perf_counter()
        try:
            value: dict[str, Any] = {"result": measure(setting, part)}
        except Exception:  # noqa: BLE001 - whatever a part meets is its result, and the next one goes on
            value = {"error": traceback.format_exc()[-6000:]}
        _say({"end": part, "seconds": round(time.perf_counter() - begin, 1), **value})


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
