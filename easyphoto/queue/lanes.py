"""The devices of this process as runners of the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from easyphoto.errors import InvalidRequest
from easyphoto.events import Listener
from easyphoto.queue.port import DurableRequest, RequestKind


class LocalRunner:
    """One device of this process: does one request at a time, with the ``kinds`` of work that know this device."""

    slots = 1

    def __init__(self, name: str, kinds: Mapping[str, RequestKind[Any]]) -> None:
        self.name = name
        self._kinds = kinds

    def run(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Any:
        """Do it in the calling thread."""
        kind = self._kinds.get(request.kind)
        if kind is None:
            raise InvalidRequest("This program can't do what the queue holds: {kind}.", kind=request.kind)
        return kind.work(request, emit, cancelled)

    def close(self) -> None:
        """There is nothing to let go of."""
