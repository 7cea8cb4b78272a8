"""Kill a real process with SIGKILL at a chosen one of its file operations."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENTS = frozenset(
    {
        "open",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
        "shutil.copyfile",
        "shutil.rmtree",
    }
)


def operations(work: Callable[[], object], folder: Path) -> int:
    """How many operations on files under ``folder`` the work takes; it is done in a process of its own."""
    read, write = os.pipe()
    status = _fork(work, folder, 0, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed by itself"
    return int(data)


def killed(work: Callable[[], object], folder: Path, at: int) -> None:
    """Do the work in a process of its own that dies right before its operation number ``at`` (from 1) on a file."""
    status = _fork(work, folder, at, None)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"it was to die before operation {at}"


def _fork(work: Callable[[], object], folder: Path, at: int, report: int | None) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in EVENTS and str(arguments[0]).startswith(str(folder)):
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()
        if report is not None:
            os.write(report, str(count).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a child that was forked must not go on as the test
        traceback.print_exc()
        os._exit(1)
