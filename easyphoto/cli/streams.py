"""The program's own streams: no name is too foreign to be printed, no closed pipe is worth a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

READER_GONE = 141
"""Exit status when whoever read the output stopped reading, as of a program that SIGPIPE ends."""


def prepare() -> None:
    """Make standard output and error take any text, whatever their encoding, and be there at all.

    What a code page can't show is written as an escape. A stream that was closed before the program began swallows
    what is written to it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the whole program
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_json(data: Any) -> None:
    """One value as one line of JSON on standard output, with escapes where the encoding needs them."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def reader_gone(error: OSError) -> bool:
    """Whether a write failed because nobody reads any more."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def abandon() -> None:
    """Write nothing more to standard output, not even when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
