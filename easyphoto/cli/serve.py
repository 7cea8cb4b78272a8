"""The standalone app: the same tabs and the same API as in a WebUI, on one server."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from easyphoto import __version__
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest
from easyphoto.service import EasyPhoto

if TYPE_CHECKING:
    from fastapi import FastAPI

Auth = tuple[str, str]


def app(service: EasyPhoto, auth: Auth | None = None) -> FastAPI:
    """Tabs at ``/``, API below ``/easyphoto``, its description at ``/docs``.

    With ``auth``, the page asks for that name and password, and the API for the same as HTTP basic credentials.
    """
    try:
        import gradio
        from fastapi import Depends, FastAPI
    except ImportError as error:
        raise AssetMissing(
            f"The app needs the package {error.name}: pip install -r requirements-standalone.txt."
        ) from error
    from easyphoto.api import auth as authentication
    from easyphoto.api import routes
    from easyphoto.ui.app import TITLE, build_tabs, head, style

    server = FastAPI(title=TITLE, version=__version__, dependencies=[Depends(authentication.same_site)])
    routes.mount(server, service, authentication.basic(dict([auth] if auth else [])))
    mounted: FastAPI = gradio.mount_gradio_app(
        server, build_tabs(service), "/", auth=auth, css=style(), head=head(), show_error=True, footer_links=[]
    )
    return mounted


def serve(
    service: EasyPhoto,
    host: str = "127.0.0.1",
    port: int = 7861,
    auth: Auth | None = None,
    listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Run :func:`app` until it is interrupted. Anybody who reaches ``host`` can use it unless there is ``auth``.

    ``listening`` is told the address once browsers can connect to it. Raises InvalidRequest with one sentence when
    ``host`` and ``port`` (0: any free one) can't be had.
    """
    with bind(host, port) as door:
        made = app(service, auth)
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(made, log_level="warning"))
        listening(address(door, host))
        server.run(sockets=[door])
        if not server.started:
            raise EasyPhotoError("The app did not start: the lines above say why.")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port``; one sentence when it can't be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server((where[0], port), family=family, backlog=2048)
    except (socket.gaierror, UnicodeError) as error:
        raise InvalidRequest(f"There is no host {host!r}: give an address of this machine with --host.") from error
    except OSError as error:
        raise InvalidRequest(_why_not(error, host, port)) from error


def address(door: socket.socket, host: str) -> str:
    """What to type into a browser to reach a socket that was bound for ``host``."""
    return f"http://{f'[{host}]' if ':' in host else host}:{door.getsockname()[1]}/"


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} of {host} is in use: choose another with --port, or 0 for any free one."
        case errno.EADDRNOTAVAIL:
            return f"This machine has no address {host}: give one of its own with --host."
        case errno.EACCES:
            return f"This system doesn't let you listen on port {port}: choose one from 1024 on with --port."
        case _:
            return f"{host} port {port} can't be listened on: {error.strerror or error}."
