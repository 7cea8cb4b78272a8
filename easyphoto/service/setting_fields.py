"""The settings that a user has, declared once: a WebUI shows them on its settings page, and the program without a WebUI
in a tab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class SettingField:
    """A setting. ``default`` has its type. ``in_webui`` explains it there, ``alone`` without a WebUI, where it is None
    if there is no such setting. ``restart`` says whether it holds only from the next start on."""

    default: Any
    label: str
    in_webui: str
    alone: str | None = None
    restart: bool = False


FIELDS: Mapping[str, SettingField] = MappingProxyType(
    {
        "faces": SettingField(
            1,
            "Number of user ids on the Inference tab at first",
            "one for each face of a template",
            "One for each face of a template.",
        ),
        "language": SettingField(
            "", "Language of the tabs", "holds when the page is loaded again", "It holds when the page is loaded again."
        ),
        "outputs": SettingField(
            "", "Folder for people and portraits", "empty: the WebUI's outputs folder; needs a restart"
        ),
        "keep_vision": SettingField(
            10, "Minutes that the vision models stay loaded after their last use", "0: until the WebUI ends"
        ),
        "commercial_only": SettingField(
            False,
            "Only use weights that allow commercial use",
            "needs a restart",
            "For vision, the trainer and downloads; holds from the next start on.",
            restart=True,
        ),
        "precision": SettingField(
            "auto",
            "Precision of trainings left at auto",
            "auto takes what the device does best",
            "auto takes what the device does best.",
        ),
        "allow_hosts": SettingField(
            "",
            "Host names that EasyPhoto's HTTP API answers to",
            "name, ...; localhost, this machine's name and addresses need no mention; needs a reload of the UI",
            "With commas between them; localhost, this machine's name and addresses need no mention. "
            "Holds from the next start on.",
            restart=True,
        ),
        "backends": SettingField(
            "",
            "Vision backends",
            "for a role, in place of the best that is there; needs a restart",
            "role=name, in place of the best that is there; empty takes that. Holds from the next start on.",
            restart=True,
        ),
    }
)
"""Each setting by its key."""
