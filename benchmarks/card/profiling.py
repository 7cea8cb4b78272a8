"""What the card and the processor do while something runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from benchmarks.card.setting import Setting

ROWS = 40


def profile(setting: Setting, work: Callable[[], object]) -> tuple[dict[str, Any], str]:
    """Run ``work`` under torch's profiler. Return the seconds and the card's share of them, and the table."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.on_card else [])]
    setting.sync()
    with torch.profiler.profile(activities=activities) as seen:
        begin = time.perf_counter()
        work()
        setting.sync()
        seconds = time.perf_counter() - begin
    rows = seen.key_averages()
    key = "self_device_time_total" if setting.on_card else "self_cpu_time_total"
    # Operations are told with the time of the kernels that they start, and the kernels once more by themselves.
    kind = DeviceType.CUDA if setting.on_card else DeviceType.CPU
    busy = sum(getattr(row, key) for row in rows if row.device_type == kind) / 1e6
    told = {"seconds_under_the_profiler": round(seconds, 3), "device_busy_share": round(busy / seconds, 3)}
    return told, rows.table(sort_by=key, row_limit=ROWS, max_name_column_width=70)
