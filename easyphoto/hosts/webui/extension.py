"""The service of a running WebUI: made once, however often the WebUI reloads its scripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from easyphoto import environment
from easyphoto.catalog import Folders
from easyphoto.catalog.model_folders import ALSO_LOOK
from easyphoto.errors import AssetMissing
from easyphoto.events import Listener
from easyphoto.hosts.webui.border import WebUI, installed_version, loaded
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.hosts.webui.settings_page import WebUISettings
from easyphoto.service import EasyPhoto, Preferences
from easyphoto.vision.remote import RemoteVision

SEND_TO = ("img2img", "inpaint", "extras")


@lru_cache(maxsize=1)
def webui() -> WebUI:
    return WebUI.load()


def settings() -> WebUISettings:
    return WebUISettings(webui())


@lru_cache(maxsize=1)
def service() -> EasyPhoto:
    """EasyPhoto on this WebUI, with the trainer and the vision in our own environment."""
    chosen = settings()
    paths = chosen.paths()
    tell_children(chosen.folders(paths))
    wanted = chosen.vision(paths)
    vision = RemoteVision(interpreter, wanted, idle=chosen.vision_idle)
    commercial_only = wanted["commercial_only"]  # as the vision has it until a restart
    return EasyPhoto(
        WebUIHost(webui()),
        vision,
        paths,
        python=make_environment,
        preferences=lambda: Preferences(commercial_only, chosen.precision()),
        folders=lambda: chosen.folders(paths),
    )


def tell_children(folders: Folders) -> None:
    """Let the trainer and the vision worker look for weights in these folders too: they take this process's variables,
    and know of the WebUI nothing but its models folder."""
    os.environ[ALSO_LOOK] = os.pathsep.join(str(f) for f in folders.search)


def interpreter() -> Path:
    """The Python of our own environment; :class:`AssetMissing` with what to do when it isn't ready."""
    status = environment.status(torch=installed_version("torch"))
    if status.python is None:
        raise AssetMissing(status.sentence)
    return status.python


def make_environment(listener: Listener, cancelled: Callable[[], bool]) -> Path:
    """The same, made first if need be, with progress."""
    return environment.ensure(listener, cancelled, torch=installed_version("torch"))


def send_to(selected: Any, parameters: Any) -> None:
    """The WebUI's own buttons that send the selected portrait, with its parameters, to another tab."""
    paste = loaded("modules.infotext_utils", "modules.generation_parameters_copypaste")
    if paste is None:
        return
    for tab, button in paste.create_buttons(SEND_TO).items():
        button.elem_id = f"easyphoto_send_to_{tab}"
        # The WebUI's script has no function that pastes text for the inpaint tab, which shares img2img's prompt.
        text = parameters if tab == "img2img" else None
        paste.register_paste_params_button(
            paste.ParamBinding(
                paste_button=button, tabname=tab, source_image_component=selected, source_text_component=text
            )
        )
