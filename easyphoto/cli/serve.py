"""The standalone app: the same tabs and the same API as in a WebUI, on one server."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from easyphoto import __version__
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest
from easyphoto.service import EasyPhoto

if TYPE_CHECKING:
    from fastapi import FastAPI

Auth = tuple[str, str]

MAX_UPLOAD = 2 * 2**30
"""The most bytes that the page may send at once: a hundred photos as cameras make them."""
GRACE = 5
"""How many seconds open requests have to end when the server stops."""


def app(service: EasyPhoto, auth: Auth | None = None, names: Sequence[str] = ()) -> FastAPI:
    """Return the app: the tabs at ``/``, the API below ``/easyphoto`` and its description at ``/docs``, all behind one
    guard.

    With ``auth``, the page asks for that name and password, and the API wants the same as HTTP basic credentials.
    ``names`` are host names by which the server may be called in addition to localhost, this machine's own name and any
    address.
    """
    try:
        import gradio
        from fastapi import FastAPI
    except ImportError as error:
        raise AssetMissing(
            f"The app needs the package {error.name}: pip install -r requirements-standalone.txt."
        ) from error
    from easyphoto.api import auth as authentication
    from easyphoto.api import guard, routes
    from easyphoto.service.kept_settings import KeptSettings
    from easyphoto.ui.app import TITLE, build_tabs, head, style
    from easyphoto.ui.settings import Settings

    kept = KeptSettings(service.paths)
    door = guard.Door.named(*names, *kept.names())
    tabs = build_tabs(service, Settings(faces=kept.faces, language=kept.language, kept=kept))
    server = FastAPI(title=TITLE, version=__version__)
    server.add_middleware(
        guard.Guard,
        door=door,
        limit=guard.limits(routes.MAX_BODY, MAX_UPLOAD, uploads=("/upload",)),
        takes_json=lambda path: path.startswith("/easyphoto/"),
        framed=False,
    )
    routes.mount(server, service, authentication.basic(dict([auth] if auth else [])), door)
    mounted: FastAPI = gradio.mount_gradio_app(
        server, tabs, "/", auth=auth, css=style(), head=head(), show_error=True, footer_links=[]
    )
    return mounted


def serve(
    service: EasyPhoto,
    host: str = "127.0.0.1",
    port: int = 7861,
    auth: Auth | None = None,
    listening: Callable[[str], None] = lambda url: None,
    names: Sequence[str] = (),
) -> None:
    """Run :func:`app` until it is interrupted. Anybody who reaches ``host`` can use it unless there is ``auth``.

    ``names`` are those of :func:`app`; ``host`` itself is added to them. ``listening`` is called with the address once
    browsers can connect to it. Raises InvalidRequest with one sentence if the server can't listen on ``host`` and
    ``port`` (0: any free port).
    """
    from easyphoto.batch import table_desk
    from easyphoto.ui.temporary import own_folder

    with bind(host, port) as door, own_folder(service):
        made = app(service, auth, [*names, *bound_name(host)])
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(made, log_level="warning", timeout_graceful_shutdown=GRACE))
        table_desk.register(service)
        service.jobs.attend()
        listening(address(door, host))
        server.run(sockets=[door])
        if not server.started:
            raise EasyPhotoError("The app did not start: the lines above say why.")


def bound_name(host: str) -> list[str]:
    """Return what ``host`` adds to the names of the server: itself, or nothing if it is an address, which is always
    allowed."""
    return [] if ":" in host or not host else [host]


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``. Raises InvalidRequest with one sentence if that is not
    possible."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server((where[0], port), family=family, backlog=2048)
    except (socket.gaierror, UnicodeError) as error:
        raise InvalidRequest(f"There is no host {host!r}: give an address of this machine with --host.") from error
    except OSError as error:
        raise InvalidRequest(_why_not(error, host, port)) from error


def address(door: socket.socket, host: str) -> str:
    """Return what a user types into a browser to reach a socket that was bound for ``host``."""
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
