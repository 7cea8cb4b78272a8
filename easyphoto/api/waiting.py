"""Wait for a job without holding a thread, and without holding up a server that wants to stop.

A server that closes waits for the requests that are open. AUTOMATIC1111 waits for its server at "Reload UI", so a
request that waits for a training would leave the user without a WebUI until the training ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import Request

from easyphoto.errors import EasyPhotoError
from easyphoto.jobs import Job

POLL = 0.25
"""Seconds between two looks at the job."""


class Closing(EasyPhotoError):
    """The server is stopping before the job has ended."""

    code = "closing"
    http_status = 503


def closing() -> Callable[[], bool]:
    """Return whether the server of this request has been told to stop. Call it while a request is being answered.

    A server tells nobody before it has waited for all requests, and a WebUI hands out no reference to its server. But
    each of these servers is uvicorn's, and the task that runs this event loop is its ``Server.serve``.
    """
    server = next((found for found in map(_server, asyncio.all_tasks()) if found is not None), None)
    return lambda: bool(getattr(server, "should_exit", False))


def _server(task: asyncio.Task[Any]) -> Any:
    """Return the uvicorn server in one of whose methods ``task`` is, or None."""
    running: Any = task.get_coro()
    while running is not None:
        frame = getattr(running, "cr_frame", None)
        owner = None if frame is None else frame.f_locals.get("self")
        if hasattr(owner, "should_exit") and hasattr(owner, "server_state"):
            return owner
        running = getattr(running, "cr_await", None)
    return None


async def until_ended(job: Job[Any], request: Request) -> None:
    """Return when the job has ended or the client has gone. Raises :class:`Closing` if the server stops first."""
    stops, gone = closing(), asyncio.ensure_future(_gone(request))
    try:
        while not job.ended and not gone.done():
            if stops():
                raise Closing("The server stops before the job has ended.")
            await asyncio.sleep(POLL)
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
