"""The parent's side of a training: it starts the child, follows its events, cancels it, and says why it died if it
did."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from easyphoto import errors, events, program
from easyphoto.errors import Cancelled, EasyPhotoError, StorageFailed, TrainingFailed
from easyphoto.events import Event, Failed, Finished, Listener
from easyphoto.messages import Message
from easyphoto.storage import earlier, files, locks, scratch
from easyphoto.storage.folders import CANCEL, ERROR, EVENTS, LOG, PARENT_LOCK, PHOTOS, STAGED, TEMPLATES, JobFolder
from easyphoto.training.spec import TrainingResult, TrainingSpec
from easyphoto.training.worker import WATCHED

__all__ = ["PARENT_LOCK", "TrainingResult", "TrainingSpec", "run"]
_log = logging.getLogger(__name__)

WORKER = "easyphoto.training.worker"
POLL = 0.1
GRACE = 120.0
"""The seconds that a cancelled child has to save and to end. A step of a large model on a slow device takes its
time."""


def run(
    spec: TrainingSpec, folder: Path, listener: Listener, cancelled: Callable[[], bool], module: str = WORKER
) -> TrainingResult:
    """Train in a child process, and return what came of it.

    ``folder`` holds the job: its events, its log, and what a resumed training goes on from. ``listener`` gets every
    event of the child, and its last one (``Finished`` or ``Failed``) too. ``cancelled`` is asked all the time. A
    cancelled training leaves its last checkpoint, and :class:`Cancelled` is raised. If the child dies,
    :class:`TrainingFailed` is raised with its last error. An error that the child reports is raised as what it is.

    ``module`` is the module that the child runs. One of your own calls ``worker.main`` with other phases.

    Photos and validation templates that wait in a folder ``staged-...`` of the job become the job's own once this
    training has the folder for itself. If this training ends without a state to go on from, the state of the
    interrupted training before it is put back. The person's own files change only when the trainer publishes.
    """
    job = JobFolder(folder)
    with locks.alone(job, spec.user_id):
        try:
            spec = _prepare(spec, job)
            child = _start(spec, folder, module)
            try:
                last = _follow(child, folder, listener, cancelled)
            finally:
                _end(child)
        except OSError as error:
            raise StorageFailed(
                "The training can't use {folder}: {reason}.", folder=folder.name, reason=error.strerror or error
            ) from error
        finally:
            _settle(job)
    if isinstance(last, Finished):
        return TrainingResult.from_mapping(last.result)
    if isinstance(last, Failed):
        raise error_of(last)
    if cancelled():
        raise Cancelled("The training was stopped.")
    raise TrainingFailed(_why(child.returncode, folder))


def error_of(failed: Failed) -> EasyPhotoError:
    """Return the exception that an event reports."""
    return errors.of(failed.code, TrainingFailed)(failed.message)


def _prepare(spec: TrainingSpec, job: JobFolder) -> TrainingSpec:
    """Remove what an earlier job left, except for what a resumed training needs, and write the new request."""
    earlier.settle(job)
    for name in (EVENTS, ERROR, CANCEL, LOG):
        files.remove(job.path / name)
    files.remove(job.resumed)
    if not spec.resume:
        if job.state.exists():
            earlier.set_aside(job)
        else:
            for name in earlier.RESUMABLE:
                files.remove(job.path / name)
    spec = _adopt(spec, job)
    files.write_bytes(job.resumed if spec.resume and job.request.is_file() else job.request, spec.to_json().encode())
    scratch.sweep(job.path, STAGED)
    return spec


def _adopt(spec: TrainingSpec, job: JobFolder) -> TrainingSpec:
    """Make staged pictures the job's own. They are whole, and nobody else trains now."""
    photos = _moved(spec.photos, job, PHOTOS)
    templates = _moved(spec.validation_templates, job, TEMPLATES)
    return replace(spec, photos=photos, validation_templates=templates)


def _moved(paths: tuple[Path, ...], job: JobFolder, name: str) -> tuple[Path, ...]:
    staged = paths[0].parent if paths else job.path
    if not (staged.name == name and staged.parent.parent == job.path and staged.parent.name.startswith(STAGED)):
        return paths
    files.remove(job.path / name)
    staged.rename(job.path / name)
    return tuple(job.path / name / path.name for path in paths)


def _settle(job: JobFolder) -> None:
    """Leave something that can be resumed, whatever happened: this training, or else the one before it."""
    try:
        files.remove(job.resumed)
        earlier.settle(job)
    except OSError as error:
        # The next training or resume does it again.
        _log.warning("what the earlier training left could not be put back: %s", error)


def _start(spec: TrainingSpec, folder: Path, module: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*program.import_path(), *_python_path()]),
        # With the working directory below, nothing but the program and what is installed can be imported.
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        WATCHED: "1",
    }
    environment.pop("PYTHONHOME", None)
    environment.pop("PYTHONSTARTUP", None)
    # Threads that spin while they wait for one another make a busy machine ten times slower and an idle one no faster.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = [str(spec.python or sys.executable), "-m", module, str(folder.resolve())]
    try:
        with (folder / LOG).open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Nothing of a data folder is ever imported.
                cwd=program.FILES,
                # Ctrl-C in a terminal reaches the whole group; the parent decides what it means.
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if os.name == "nt" else 0,
            )
    except OSError as error:
        raise TrainingFailed("The trainer could not be started: {reason}.", reason=error.strerror or error) from error


def _python_path() -> list[str]:
    """Return the folders that the environment adds, except for those that mean the working directory of the moment."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]


def _follow(
    child: subprocess.Popen[bytes], folder: Path, listener: Listener, cancelled: Callable[[], bool]
) -> Event | None:
    """Pass events on until the child has ended. Return the event that ended its stream, or None when there was none."""
    last: Event | None = None
    asked_at: float | None = None
    tail = _tail(folder / EVENTS)
    while True:
        alive = child.poll() is None
        for event in next(tail):
            listener(event)
            last = event if events.ends(event) else last
        if not alive:
            return last
        if asked_at is None and cancelled():
            asked_at = time.monotonic()
            _ask_to_stop(child, folder)
        elif asked_at is not None and time.monotonic() - asked_at > GRACE:
            _log.warning("the trainer did not stop within %.0f s and is killed", GRACE)
            child.kill()
        time.sleep(POLL)


def _ask_to_stop(child: subprocess.Popen[bytes], folder: Path) -> None:
    try:
        (folder / CANCEL).touch()
    except OSError:
        # A full disk has no room for the file; the signal says the same.
        child.terminate()


def _tail(path: Path) -> Iterator[list[Event]]:
    """Yield, at each turn, the events that were written since the last turn."""
    position, rest = 0, b""
    while True:
        fresh: list[Event] = []
        if path.exists():
            with path.open("rb") as log:
                log.seek(position)
                data = log.read()
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            fresh = [event for line in lines if line.strip() and (event := _event(line)) is not None]
        yield fresh


def _event(line: bytes) -> Event | None:
    """Return the event of a line. A full disk may have cut off an event, and the next one then follows on the same
    line."""
    text = line.decode(errors="replace")
    for start in (0, text.rfind('{"kind":')):
        try:
            return events.from_json(text[max(start, 0) :])
        except (ValueError, TypeError):
            continue
    _log.warning("a line of the trainer's events can't be read: %.80s", text)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave no child behind, whatever happened on this side."""
    if child.stdin is not None:
        child.stdin.close()
    if child.poll() is None:
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def _why(status: int, folder: Path) -> str:
    """Return a sentence about a child that ended without one."""
    if status == -int(getattr(signal, "SIGKILL", 9)):
        return Message(
            "The trainer was killed by the system, most likely because the memory ran out: take "
            "a smaller batch size, resolution or rank, or resume from the last checkpoint."
        )
    words = _last_words(folder / LOG)
    if status < 0:
        name = signal.Signals(-status).name if -status in {s.value for s in signal.Signals} else str(-status)
        return Message("The trainer crashed ({name}){words}.", name=name, words=words)
    return Message("The trainer ended with status {status}{words}.", status=status, words=words)


def _last_words(log: Path) -> str:
    """Return the last line of the log that looks like an error, or else its last line."""
    try:
        text = log.read_bytes()[-20000:].decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\w*(Error|Exception|Fatal)\b", line)]
    chosen = (telling or lines or [""])[-1]
    return f": {chosen[:300].rstrip('.')}" if chosen else ""
