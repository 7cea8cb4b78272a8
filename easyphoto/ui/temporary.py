"""Where gradio keeps what a browser sends and what it shows: in a folder of this program's uploads, while it runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from easyphoto.service import EasyPhoto
from easyphoto.storage.scratch import Scratch, sweep

VARIABLE = "GRADIO_TEMP_DIR"
"""Gradio asks for its folder here, when a page is made and at every upload."""
_FOLDER = "page-"


@contextmanager
def own_folder(service: EasyPhoto) -> Iterator[None]:
    """While entered, everything that comes through a page lies below the data folder; before and after, nothing.

    For a program that makes its page inside and ends with it: the folder is told to gradio by an environment variable.
    A signal to terminate ends the program as an exception does, so that nothing is left behind by it either.
    """
    uploads = service.paths.uploads
    service.uploads.empty_all()
    sweep(uploads, _FOLDER)
    with _terminated_as_an_exit(), Scratch(uploads, _FOLDER) as place:
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = str(place.path)
        try:
            yield
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before
            service.uploads.empty_all()


@contextmanager
def _terminated_as_an_exit() -> Iterator[None]:
    # What a program around this one makes of the signal, an exception of its own, stays so.
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
