"""The vision worker: serves the roles of one :class:`easyphoto.ports.Vision` to the process that started it.

It runs in our own environment, where the packages of the backends are, and ends when its standard input does.
:mod:`easyphoto.vision.remote` is the other side, and :mod:`easyphoto.vision.protocol` is what crosses between the two.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from easyphoto import reporting
from easyphoto.errors import EasyPhotoError
from easyphoto.messages import to_data
from easyphoto.ports import Vision
from easyphoto.storage import scratch
from easyphoto.vision import detect_near, protocol, reporters
from easyphoto.vision.backend import ROLES

log = logging.getLogger(__name__)


def local_vision(models: str, backends: dict[str, str] | None = None, commercial_only: bool = False) -> Vision:
    """The vision of a process that has the backends' packages."""
    from easyphoto.vision import registry

    return registry.create(Path(models), backends=backends, commercial_only=commercial_only)


def main() -> None:
    """Serve until the input ends. The first message says how to make the vision and where the arrays lie."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    requests, replies = _private_pipes()
    hello = protocol.receive(requests)
    if hello is None:
        return
    folder = Path(hello["folder"])
    reader, writer = protocol.Reader(folder), protocol.Writer(folder, "reply")
    try:
        vision = _make(hello["factory"], hello["settings"])
        while (request := protocol.receive(requests)) is not None:
            protocol.send(replies, _answer(vision, request, reader, writer))
    except BrokenPipeError:
        log.debug("the process that asked is gone")
    if not _is_owned(folder):
        scratch.discard(folder)


def _is_owned(folder: Path) -> bool:
    """Whether the process that made the folder still has it. A process that was killed leaves it to us, and the end of
    its pipe may be seen a moment before its lock is free."""
    for _ in range(20):
        if folder in scratch.abandoned(folder.parent, folder.name):
            return False
        time.sleep(0.1)
    return True


def _private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes for requests and replies, which nothing else uses: what a library prints goes to standard error."""
    requests, replies = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (requests, replies):
            msvcrt.setmode(descriptor, os.O_BINARY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _make(factory: str, settings: dict[str, Any]) -> Vision:
    module, name = factory.split(":")
    make = cast("Callable[..., Vision]", getattr(importlib.import_module(module), name))
    return make(**settings)


def _answer(
    vision: Vision, request: dict[str, Any], reader: protocol.Reader, writer: protocol.Writer
) -> dict[str, Any]:
    try:
        begin = time.thread_time()
        arguments = protocol.unpack(request, reader)
        crossing = time.thread_time() - begin
        before = time.perf_counter()
        wanted = request["preferring"]
        value = _do(vision.preferring(wanted) if wanted else vision, request["role"], request["what"], arguments)
        seconds = time.perf_counter() - before
        begin = time.thread_time()
        reply = protocol.pack(value, writer)
        return {**reply, "seconds": seconds, "crossing": crossing + time.thread_time() - begin}
    except EasyPhotoError as error:
        return {"error": str(error), "said": to_data(error.message), "code": error.code}
    # The worker must outlive a bug in a backend. The caller gets the message, and standard error the whole traceback.
    except Exception as error:
        log.exception("%s.%s failed", request.get("role"), request.get("what"))
        return {"error": f"{type(error).__name__}: {error}", "code": ""}


def _do(vision: Vision, role: str, what: str, arguments: list[Any]) -> Any:
    if role == "vision":
        return dict(vision.backends()) if what == "backends" else None
    if role not in (*ROLES, reporters.ROLE):
        raise ValueError(f"no role {role!r}")
    backend: Any = reporting.of(vision) if role == reporters.ROLE else getattr(vision, role)
    if backend is None:
        return None
    if what == "detect_near":
        return detect_near(backend, *arguments)
    value = getattr(backend, what, True) if what == "bends" else getattr(backend, what)
    return value(*arguments) if callable(value) else value


if __name__ == "__main__":
    main()
