"""Puts EasyPhoto into the WebUI: its settings, its tab and its routes. The WebUI runs this file again when it reloads
its UI."""

import html
import logging

from modules import script_callbacks

# Import it now, while this extension's folder is on the WebUI's path. Later the package finds its modules by itself.
import easyphoto  # noqa: F401

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
    # A WebUI leaves out a tab that fails and says nothing, so this tab shows the reason.
    except Exception as error:
        log.exception("EasyPhoto's tab could not be built")
        with gr.Blocks() as page:
            gr.HTML(f"<h3>EasyPhoto could not start</h3><p>{html.escape(f'{type(error).__name__}: {error}')}</p>")
    # A WebUI stores defaults by label alone, and two of the tabs have a "Seed": keep ours as they are declared.
    for component in page.blocks.values():
        component.do_not_save_to_config = True
    return [(page, "EasyPhoto", "easyphoto")]


def add_routes(_, app):
    from easyphoto.api import auth, routes
    from easyphoto.api.guard import Door
    from easyphoto.hosts.webui import extension

    chosen = extension.settings()
    # The tabs work without the routes, so only a user who asked for an API gets them.
    if not chosen.api():
        routes.close(app, "EasyPhoto's HTTP API is off: start the WebUI with --api.")
        return
    door = Door.of(chosen.names(), chosen.origins(), chosen.origin_pattern())
    routes.mount(app, extension.service(), auth.basic(chosen.credentials()), door)


script_callbacks.on_ui_settings(add_settings)
script_callbacks.on_ui_tabs(add_tab)
script_callbacks.on_app_started(add_routes)
