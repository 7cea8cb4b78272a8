"""The standalone app: the same tabs and the same API as in a WebUI, on one server."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from easyphoto import __version__
from easyphoto.errors import InvalidRequest
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
        from fastapi import FastAPI
    except ImportError as error:
        raise InvalidRequest(
            f"The app needs the package {error.name}: pip install -r requirements-standalone.txt."
        ) from error
    from easyphoto.api import routes
    from easyphoto.ui.app import TITLE, build_tabs, head, style
    from easyphoto.ui.settings import Settings

    server = FastAPI(title=TITLE, version=__version__)
    routes.mount(server, service, None if auth is None else _basic(auth))
    blocks = build_tabs(service, Settings())
    mounted: FastAPI = gradio.mount_gradio_app(
        server, blocks, "/", auth=auth, css=style(), head=head(), show_error=True, footer_links=["api"]
    )
    return mounted


def serve(service: EasyPhoto, host: str = "127.0.0.1", port: int = 7861, auth: Auth | None = None) -> None:
    """Run :func:`app` until it is interrupted. Anybody who reaches ``host`` can use it unless there is ``auth``."""
    import uvicorn

    uvicorn.run(app(service, auth), host=host, port=port, log_level="warning")


def _basic(auth: Auth) -> Callable[..., Any]:
    """A FastAPI dependency that lets only these credentials through."""
    from fastapi import Depends, HTTPException
    from fastapi.security import HTTPBasic, HTTPBasicCredentials

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008 - this is how FastAPI is told
        fits = [
            secrets.compare_digest(a.encode(), b.encode())
            for a, b in zip((given.username, given.password), auth, strict=True)
        ]
        if not all(fits):
            raise HTTPException(401, "Wrong name or password.", {"WWW-Authenticate": "Basic"})

    return check
