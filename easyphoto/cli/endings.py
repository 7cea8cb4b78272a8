"""How a command ends: an exit status that scripts can tell apart, and one sentence when it isn't 0.

The statuses are those of the error classes in :mod:`easyphoto.errors`. With ``--json`` an error is also the last line
of standard output, in the form of the event ``failed``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from easyphoto import errors
from easyphoto.cli import streams
from easyphoto.cli.arguments import Usage
from easyphoto.errors import Cancelled, EasyPhotoError, StorageFailed

_log = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """The system asks the program to end (SIGTERM, SIGHUP). Everything then stops as it does for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


def status_of(command: Callable[[], int], *, as_json: bool) -> int:
    """Run a command and return its exit status. If something went wrong, one sentence goes to standard error.

    A wrong command line raises SystemExit, as argparse does.
    """
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except Usage as error:
        sys.exit(fail(error, as_json=as_json))
    except EasyPhotoError as error:
        return fail(error, as_json=as_json)
    except Terminated as ended:
        fail(Cancelled("Stopped."), as_json=as_json)
        return ended.exit_status
    except KeyboardInterrupt:
        return fail(Cancelled("Stopped."), as_json=as_json)
    except OSError as error:
        if streams.reader_gone(error):
            streams.abandon()
            return streams.READER_GONE
        _log.debug("", exc_info=error)
        return fail(StorageFailed(_of_a_file(error)), as_json=as_json)
    except Exception as error:  # noqa: BLE001 - this is the last edge: the user gets a sentence and no traceback
        _log.debug("", exc_info=error)
        sentence = f"An unexpected error stopped this: {type(error).__name__}: {error}"
        return fail(EasyPhotoError(f"{sentence} (--verbose shows where.)"), as_json=as_json)


def fail(error: EasyPhotoError, *, as_json: bool = False) -> int:
    """Say in one line what went wrong, and return the exit status for it."""
    try:
        if as_json:
            streams.write_json({"kind": "failed", "code": error.code, "message": str(error)})
    except OSError:
        streams.abandon()
    finally:
        line = " ".join(str(error).split())
        sys.stderr.write(f"easyphoto: {line}\n")
    return error.exit_status


def statuses() -> dict[int, str]:
    """Return each exit status and its meaning, in the words of the errors."""
    found = {0: "Done."}
    for kind in (kind for kind in errors.kinds() if kind.__module__ == errors.__name__):
        words = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        found[kind.exit_status] = " ".join(filter(None, (found.get(kind.exit_status), words)))
    found[streams.READER_GONE] = "Whoever read the output stopped reading."
    found[128 + signal.SIGTERM] = "The system asked the program to end."
    return dict(sorted(found.items()))


@contextmanager
def terminable() -> Iterator[None]:
    """Make a polite request of the system to end the program raise :class:`Terminated` in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGTERM, *([signal.SIGHUP] if os.name != "nt" else [])]
    # a signal that is ignored (nohup), or that a program around this one handles, stays so
    before = {number: signal.getsignal(number) for number in wanted if signal.getsignal(number) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def _of_a_file(error: OSError) -> str:
    """Return a sentence for a request to the file system that failed."""
    reason = error.strerror or str(error) or type(error).__name__
    return (
        f"{error.filename}: {reason}." if error.filename is not None else f"Something could not be written: {reason}."
    )
