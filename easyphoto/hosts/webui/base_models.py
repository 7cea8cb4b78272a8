"""Finds the base models and VAEs of the WebUI by their names.

The WebUI's own look-up takes the first model whose title contains the text: when it is asked for ``real_v5``, it may
give ``real_v51``. This module therefore finds the model among those that the WebUI lists, and gives the WebUI a title
that means only that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from easyphoto import naming
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.hosts.webui.border import WebUI
from easyphoto.messages import Message, joined

_ALSO = ("title", "short_title", "shorthash", "sha256", "hash")
"""The attributes of its entries that the host takes for names too."""


def listed(webui: WebUI) -> list[naming.Named[Any]]:
    """The host's entries of base models, each with all names that the host has for it."""
    found = []
    for info in webui.sd_models.checkpoints_list.values():
        others = [getattr(info, name, None) for name in _ALSO]
        aliases = (*(str(other) for other in others if other), str(info.filename))
        found.append(naming.Named(str(info.name), info, aliases))
    return found


def find(webui: WebUI, name: str) -> Any:
    """The host's entry that ``name`` means. Raises :class:`InvalidRequest` when there is none or more than one."""
    known = listed(webui)
    info = naming.find(name, known, "base model")
    if info is None:
        more = naming.did_you_mean(name, [entry.name for entry in known])
        raise InvalidRequest("The WebUI has no base model {name!r}.{more}", name=name, more=more)
    return info


def current(webui: WebUI) -> Any | None:
    """The entry of the base model that is chosen at the top of the WebUI's page; None when none is."""
    chosen = webui.option("sd_model_checkpoint")
    if not chosen:
        return None
    try:
        info = naming.find(str(chosen), listed(webui), "base model")
    except naming.AmbiguousName:
        info = None
    # The user sees there whatever the host takes for that name.
    return info if info is not None else webui.sd_models.get_closet_checkpoint_match(chosen)


def find_vae(webui: WebUI, name: str, known: Mapping[str, Any]) -> str:
    """The key of the VAE that ``name`` means in ``known``, which maps the names of files to their paths.

    The host knows only one file of each name. Where two folders hold a file of that name, the error names both files.
    """
    found = naming.find(name, [naming.Named(key, key, (str(path),)) for key, path in known.items()], "VAE")
    if found is None:
        raise AssetMissing("The WebUI has no VAE {name!r}: put it into models/VAE.", name=name)
    twins = [entry.name for entry in naming.listed(webui.folder_of("vae_dir", "VAE")) if entry.value.name == found]
    if len(twins) > 1:
        raise naming.AmbiguousName(
            Message("Two VAEs are called {name}: {files}; rename one.", name=found, files=joined(twins[:2], " and "))
        )
    return found
