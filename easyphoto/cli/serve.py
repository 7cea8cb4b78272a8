"""The standalone app: the same tabs and the same API as in a WebUI, on one server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easyphoto import __version__
from easyphoto.errors import AssetMissing
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


def serve(service: EasyPhoto, host: str = "127.0.0.1", port: int = 7861, auth: Auth | None = None) -> None:
    """Run :func:`app` until it is interrupted. Anybody who reaches ``host`` can use it unless there is ``auth``."""
    made = app(service, auth)
    import uvicorn

    uvicorn.run(made, host=host, port=port, log_level="warning")
