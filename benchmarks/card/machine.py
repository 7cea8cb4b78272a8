"""What the machine is and how fast it is, and the tests of the suite that need a card."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.card.setting import Setting

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "numpy", "bitsandbytes", "dlib")
DEVICE_TESTS = ("tests/embedded/test_on_a_card.py", "tests/training/test_on_a_card.py")
ROOT = Path(__file__).resolve().parents[2]


def described(setting: Setting) -> dict[str, Any]:
    """The versions of the packages, the card, and how fast it multiplies and copies."""
    told: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "packages": _versions()}
    if setting.on_card:
        card = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info()
        told["card"] = {"name": card.name, "total_gb": round(total / 1e9, 2), "free_gb": round(free / 1e9, 2)}
        told["context_gb"] = round((total - free) / 1e9, 3)
    side = 8192 if setting.on_card else 256
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("float32", torch.float32)):
        left = torch.randn(side, side, device=setting.device).to(dtype)
        seconds = _timed(setting, lambda matrix=left: matrix @ matrix)  # type: ignore[misc]
        told[f"tflops_{name}"] = round(2 * side**3 / seconds / 1e12, 2)
    block = torch.zeros(1 << (28 if setting.on_card else 20), dtype=torch.uint8)
    seconds = _timed(setting, lambda: block.to(setting.device, copy=True))
    told["to_device_gb_per_s"] = round(block.numel() / seconds / 1e9, 2)
    return told


def _timed(setting: Setting, work: Callable[[], object], rounds: int = 5) -> float:
    work()
    setting.sync()
    begin = time.perf_counter()
    for _ in range(rounds):
        work()
    setting.sync()
    return (time.perf_counter() - begin) / rounds


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not there"
    return found


def suite(setting: Setting) -> dict[str, Any]:
    """Run the tests that need a card; their output goes to ``tests.txt``. Without pytest it says so."""
    if importlib.util.find_spec("pytest") is None:
        return {"not_run": "pytest is not there"}
    # Other versions of the packages may warn of other things than those that the tests are held to.
    command = [sys.executable, "-m", "pytest", "-v", "-W", "default", "-p", "no:cacheprovider", *DEVICE_TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    (setting.out / "tests.txt").write_text(text[-200_000:], encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    return {"status": done.returncode, "last_line": lines[-1] if lines else ""}
