"""Puts EasyPhoto into the WebUI: settings, the tab, the routes. The WebUI runs this again when it reloads its UI."""

import html
import logging

from modules import script_callbacks

# Now, while the WebUI has this extension's folder on its path; once it is imported the package finds its own modules.
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
    # A WebUI drops a tab that fails, without a word: show the reason in its place.
    except Exception as error:
        log.exception("EasyPhoto's tab could not be built")
        with gr.Blocks() as page:
            gr.HTML(f"<h3>EasyPhoto could not start</h3><p>{html.escape(f'{type(error).__name__}: {error}')}</p>")
    # A WebUI keeps and gives back defaults by label alone, and both tabs have a "Seed": ours stay as declared.
    for component in page.blocks.values():
        component.do_not_save_to_config = True
    return [(page, "EasyPhoto", "easyphoto")]


def add_routes(_, app):
    from easyphoto.api import auth, routes
    from easyphoto.api.guard import Door
    from easyphoto.hosts.webui import extension

    chosen = extension.settings()
    # The tabs don't need the routes, so that they are there for those alone who asked for an API.
    if not chosen.api():
        routes.close(app, "EasyPhoto's HTTP API is off: start the WebUI with --api.")
        return
    door = Door.of(chosen.names(), chosen.origins(), chosen.origin_pattern())
    routes.mount(app, extension.service(), auth.basic(chosen.credentials()), door)


script_callbacks.on_ui_settings(add_settings)
script_callbacks.on_ui_tabs(add_tab)
script_callbacks.on_app_started(add_routes)
