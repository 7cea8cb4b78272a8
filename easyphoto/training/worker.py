"""The child process that trains: ``python -m easyphoto.training.worker FOLDER``.

It reads ``job.json`` in the folder, or ``resume.json`` if a training goes on. It writes ``events.jsonl``, and after an
error ``error.txt`` with the traceback. It stops within one step when it gets SIGTERM or SIGINT, when a file ``cancel``
appears in the folder, or when the process that started it has ended. Its exit status is 0, or that of the error.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from easyphoto import events
from easyphoto.errors import Cancelled, EasyPhotoError, InvalidRequest, StorageFailed, TrainingFailed
from easyphoto.events import Event, Failed, Finished
from easyphoto.storage.folders import CANCEL, ERROR, EVENTS, JOB, WORKER_LOCK, JobFolder
from easyphoto.training.spec import TrainingSpec

if TYPE_CHECKING:
    from easyphoto.training.phase import Phase

__all__ = ["CANCEL", "ERROR", "EVENTS", "JOB", "LOCK", "WATCHED", "StopRequest", "in_a_sentence", "main", "work"]
_log = logging.getLogger(__name__)

LOCK = WORKER_LOCK
WATCHED = "EASYPHOTO_PARENT_PIPE"
"""A parent sets this in the environment if it keeps the child's standard input open for as long as it lives."""


class StopRequest:
    """Whether somebody wants the training to end: by a signal, by the file ``cancel``, or because the parent has
    ended."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CANCEL
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set() or self._file.exists()

    def listen(self) -> None:
        """Take the signals of the process, and watch the pipe of the parent if there is one."""
        for name in ("SIGTERM", "SIGINT"):
            signal.signal(getattr(signal, name), self._on_signal)
        if os.environ.get(WATCHED):
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked.set()

    def _watch_parent(self) -> None:
        # Reads until the other end is closed, which the system does when the parent dies. On the raw descriptor: a
        # thread inside sys.stdin.buffer would hold its lock while the interpreter shuts down.
        while os.read(0, 1024):
            pass
        self._asked.set()


def work(folder: Path, stop: StopRequest, phases: Sequence[Phase] | None = None) -> int:
    """Do the job of ``folder`` and return the exit status. ``phases`` are those of the training, or None for those of
    the package."""
    log = folder / EVENTS

    def emit(event: Event) -> None:
        events.append(log, [event])

    try:
        spec = TrainingSpec.from_json(_asked(JobFolder(folder)))
        from easyphoto.training import pipeline

        result = pipeline.run(spec, folder, emit, stop, phases or pipeline.asked_for(spec.config))
        emit(Finished(result=result.to_mapping()))
    except BaseException as raised:  # noqa: BLE001 - whatever ends the child, its parent must be told in one sentence
        error = in_a_sentence(raised)
        _log.error("training ended: %s", error, exc_info=not isinstance(error, Cancelled))
        _leave(folder, emit, raised, error)
        return error.exit_status
    return 0


def in_a_sentence(error: BaseException) -> EasyPhotoError:
    """Return the error whose sentence the user reads for any exception."""
    if isinstance(error, EasyPhotoError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled("The training was stopped.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFailed("The disk is full: free some space and resume the training.")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return StorageFailed("{filename} can't be written: {reason}.", filename=error.filename, reason=error.strerror)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error):
        return TrainingFailed(
            "The memory ran out: take a smaller batch size with more gradient accumulation, gradient checkpointing, "
            "or a lower resolution or rank."
        )
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return TrainingFailed("The training broke off: {kind}: {first}", kind=type(error).__name__, first=first[:300])


def _leave(folder: Path, emit: events.Listener, raised: BaseException, error: EasyPhotoError) -> None:
    """Write ``error.txt`` and the last event. A full disk may take neither of them, but the log has both."""
    try:
        if not isinstance(error, Cancelled):
            (folder / ERROR).write_text("".join(traceback.format_exception(raised)), encoding="utf-8")
        emit(Failed(code=error.code, message=error.message))
    except OSError as failed:
        _log.error("could not be written to the job folder: %s", failed)


def _asked(job: JobFolder) -> str:
    """Return the request of a resumed training if there is one, or else that of the training."""
    try:
        return (job.resumed if job.resumed.is_file() else job.request).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest("There is no job in {parent}.", parent=job.path.parent.name) from error


def main(arguments: Sequence[str], phases: Sequence[Phase] | None = None) -> int:
    """Run the command, whose one argument is the job folder. ``phases`` are those of the training, or None for those of
    the package."""
    import faulthandler

    from filelock import Timeout

    from easyphoto.storage.locks import holding

    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if len(arguments) != 1:
        _log.error("usage: python -m easyphoto.training.worker FOLDER")
        return InvalidRequest.exit_status
    folder = Path(arguments[0])
    stop = StopRequest(folder)
    stop.listen()
    try:
        with holding(folder / LOCK, 10):
            return work(folder, stop, phases)
    except Timeout:
        _log.error("this job is being worked on already")
        return InvalidRequest.exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
