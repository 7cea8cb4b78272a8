"""A real server on a free port of this machine, which runs for as long as a test needs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from easyphoto.api import routes
from easyphoto.service import EasyPhoto


@contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The address of ``app``, served on a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def client_of(service: EasyPhoto) -> Iterator[httpx.Client]:
    """A client of the HTTP API of ``service``."""
    app = FastAPI()
    routes.mount(app, service)
    with served(app) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        yield client
