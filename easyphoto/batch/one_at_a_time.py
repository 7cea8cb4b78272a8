"""One program at a time makes the batch of a folder: two would ask for the same portraits and stop one another's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from easyphoto.errors import InvalidRequest

_log = logging.getLogger(__name__)
_LOCK = ".batch.lock"


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the folder of a batch. Raises :class:`InvalidRequest` when another program makes a batch in it. A folder
    that can't be locked is not held: whoever writes into it says what is wrong with it."""
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / _LOCK, timeout=0, thread_local=False))
        except Timeout:
            raise InvalidRequest(
                "Another program makes the batch in {folder} now: wait until it has ended.", folder=folder.name
            ) from None
        except (OSError, NotImplementedError) as error:
            _log.warning("the folder of the batch can't be locked: %s", error)
        yield
