"""Puts EasyPhoto into the WebUI: settings, the tab, the routes. The WebUI runs this again when it reloads its UI."""

import html
import logging
import sys
from pathlib import Path

from modules import script_callbacks

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
log = logging.getLogger("easyphoto")


def add_settings():
    from easyphoto.hosts.webui import extension

    extension.settings().register()


def add_tab():
    import gradio as gr

    try:
        from easyphoto.hosts.webui import extension
        from easyphoto.ui.app import build_tabs
        from easyphoto.ui.settings import Settings

        chosen = extension.settings()
        page = build_tabs(extension.service(), Settings(chosen.faces, chosen.language, extension.send_to))
    # A WebUI drops a tab that fails, without a word: show the reason in its place.
    except Exception as error:
        log.exception("EasyPhoto's tab could not be built")
        with gr.Blocks() as page:
            gr.HTML(f"<h3>EasyPhoto could not start</h3><p>{html.escape(f'{type(error).__name__}: {error}')}</p>")
    return [(page, "EasyPhoto", "easyphoto")]


def add_routes(_, app):
    from easyphoto.api import auth, routes
    from easyphoto.hosts.webui import extension

    routes.mount(app, extension.service(), authenticate=auth.basic(extension.settings().credentials()))


script_callbacks.on_ui_settings(add_settings)
script_callbacks.on_ui_tabs(add_tab)
script_callbacks.on_app_started(add_routes)
