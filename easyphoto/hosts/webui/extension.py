"""EasyPhoto's service in a running WebUI. It is made once, however often the WebUI reloads its scripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from easyphoto import environment
from easyphoto.batch import table_desk
from easyphoto.catalog import Folders
from easyphoto.catalog.model_folders import ALSO_LOOK
from easyphoto.errors import AssetMissing
from easyphoto.events import Listener
from easyphoto.hosts.webui.border import WebUI, installed_version, loaded
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.hosts.webui.settings_page import WebUISettings
from easyphoto.sd.tokenizers import PLACE
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
    """EasyPhoto on this WebUI. The trainer and the vision run in the environment that EasyPhoto has for itself."""
    chosen = settings()
    paths = chosen.paths()
    tell_children(chosen.folders(paths), webui().tokenizer)
    wanted = chosen.vision(paths)
    vision = RemoteVision(interpreter, wanted, idle=chosen.vision_idle)
    commercial_only = wanted["commercial_only"]  # as the vision has it until a restart
    made = EasyPhoto(
        WebUIHost(webui(), vision),
        vision,
        paths,
        python=make_environment,
        preferences=lambda: Preferences(commercial_only, chosen.precision()),
        folders=lambda: chosen.folders(paths),
    )
    table_desk.register(made)
    made.jobs.attend()
    return made


def tell_children(folders: Folders, tokenizer: Path | None = None) -> None:
    """Let the trainer and the vision worker look for weights in these folders too, and for CLIP's tokenizer in
    ``tokenizer``. They get the environment variables of this process, and know nothing of the WebUI but its models
    folder."""
    os.environ[ALSO_LOOK] = os.pathsep.join(str(f) for f in folders.search)
    if tokenizer is not None:
        os.environ[PLACE] = str(tokenizer)


def interpreter() -> Path:
    """The Python of EasyPhoto's own environment. Raises :class:`AssetMissing`, which says what to do, when the
    environment isn't ready."""
    status = environment.status(torch=installed_version("torch"))
    if status.python is None:
        raise AssetMissing(status.sentence)
    return status.python


def make_environment(listener: Listener, cancelled: Callable[[], bool]) -> Path:
    """The same Python. Where the environment isn't there yet, it is made first, and ``listener`` is told how far it
    is."""
    return environment.ensure(listener, cancelled, torch=installed_version("torch"))


def send_to(selected: Any, parameters: Any) -> None:
    """Make the WebUI's own buttons that send the selected portrait, with its parameters, to another tab."""
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
