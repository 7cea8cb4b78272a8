"""The program's own output. It can print any name, and a reader who stops reading causes no traceback."""

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
"""The exit status if the reader of the output stopped reading; a program that SIGPIPE ends has the same."""


def prepare() -> None:
    """Make sure that standard output and standard error exist and take any text, whatever their encoding is.

    A character that the encoding doesn't have is written as an escape. If a stream was closed before the program began,
    what is written to it is thrown away.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the whole program
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_json(data: Any) -> None:
    """Write one value as one line of JSON on standard output, with escapes where the encoding needs them."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def reader_gone(error: OSError) -> bool:
    """Return whether a write failed because nobody reads the output any more."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def abandon() -> None:
    """Make sure that nothing more is written to standard output, not even when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
