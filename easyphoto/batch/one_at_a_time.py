"""One program at a time makes the batch of a folder: two would ask for the same portraits and stop one another's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from easyphoto.errors import InvalidRequest
from easyphoto.storage.locks import holding

_log = logging.getLogger(__name__)
_LOCK = ".batch.lock"


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the folder of a batch. Raises :class:`InvalidRequest` when another program makes a batch in it. A folder
    that can't be locked is not held: whoever writes into it says what is wrong with it."""
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(holding(folder / _LOCK, 0))
        except Timeout:
            raise InvalidRequest(
                "Another program makes the batch in {folder} now: wait until it has ended.", folder=folder.name
            ) from None
        except OSError as error:
            _log.warning("the folder of the batch can't be locked: %s", error)
        yield
