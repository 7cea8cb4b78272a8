"""The folder where gradio keeps what a browser sends and what the page shows: among this program's uploads, while it
runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from easyphoto.service import EasyPhoto
from easyphoto.storage.scratch import Scratch, sweep

VARIABLE = "GRADIO_TEMP_DIR"
"""The environment variable that gradio reads when a page is made and at every upload, to find its folder."""
_FOLDER = "page-"


@contextmanager
def own_folder(service: EasyPhoto) -> Iterator[None]:
    """Keep everything that comes through a page below the data folder while this context is entered, and empty that
    folder before and after.

    This is for a program that makes its page inside the context and ends with it, because an environment variable tells
    gradio where the folder is. SIGTERM then ends the program with an exception, so that the folder is emptied in this
    case too.
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
    # A program around this one that already handles the signal keeps its own way of doing so.
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
