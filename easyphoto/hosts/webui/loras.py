"""LoRAs in a WebUI. They are written into the prompt. They are checked too, because a WebUI says nothing when it can't
apply one."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from easyphoto import naming
from easyphoto.errors import AssetMissing, HostFailed, InvalidRequest
from easyphoto.hosts.webui.border import WebUI, loaded
from easyphoto.messages import Message, joined
from easyphoto.naming import AmbiguousName
from easyphoto.ports import LoraRef
from easyphoto.storage import files
from easyphoto.storage.folders import REWARDS, reward_name

_FOLDER = ("lora_dir", "Lora")
_TAG = re.compile(r"<lora:([^:<>]+)(?::([^<>]*))?>", re.IGNORECASE)


def prompt_with(prompt: str, loras: Sequence[LoraRef]) -> str:
    """The prompt with the tags by which the host knows the LoRAs. Raises :class:`InvalidRequest` for a LoRA whose name
    can't stand in a tag."""
    for lora in loras:
        if any(c in lora.name for c in ":<>,"):
            raise InvalidRequest("The LoRA {lora!r} can't be named in a prompt: rename its file.", lora=lora.name)
    return " ".join([prompt, *(f"<lora:{lora.name}:{lora.weight:g}>" for lora in loras)]).strip()


def placed(webui: WebUI, loras: Sequence[LoraRef]) -> list[LoraRef]:
    """The LoRAs where the host finds them: what the reward taught lies in the person's folder, and gets a second name
    in the host's LoRA folder. Raises :class:`HostFailed` when that can't be written."""
    found = []
    for lora in loras:
        if lora.path.is_file() and lora.path.name == reward_name(lora.path.parent.parent.name):
            there = webui.folder_of(*_FOLDER) / REWARDS / lora.path.name
            if not _same(there, lora.path) and not (there.is_file() and filecmp.cmp(there, lora.path, shallow=False)):
                try:
                    files.remove(there)
                    files.link(lora.path, there)
                except OSError as error:
                    raise HostFailed(
                        "The LoRA {lora} can't be put into the LoRA folder: {reason}.",
                        lora=lora.name,
                        reason=error.strerror or error,
                    ) from error
                refresh(webui)
            found.append(LoraRef(there, lora.weight))
        else:
            found.append(lora)
    return found


def check(webui: WebUI, loras: Iterable[LoraRef], prompt: str) -> None:
    """Check before a picture is made that every LoRA is a file, and the very file that the host takes for its name. The
    LoRAs that the prompt names are checked too.

    Raises :class:`AssetMissing` for a LoRA that isn't there, and :class:`AmbiguousName` where the host would choose
    between two files.
    """
    networks = _networks(webui)
    for lora in loras:
        if not lora.path.is_file():
            raise AssetMissing(
                "The LoRA {lora} is not there: {path} is missing in the LoRA folder.",
                lora=lora.name,
                path=lora.path.name,
            )
        known = _taken(networks, lora.name, lora.path)
        if known is None:
            raise AssetMissing(
                "The WebUI does not find the LoRA {lora}: it must lie in the WebUI's LoRA folder.", lora=lora.name
            )
        if not _same(known, lora.path):
            two = f"{_shown(webui, lora.path)} and {_shown(webui, known)}"
            raise AmbiguousName(
                Message(
                    "Two LoRAs are called {lora}; the WebUI can't tell {two} apart. Rename one.",
                    lora=lora.name,
                    two=two,
                )
            )
    for name, _ in _tags(prompt):
        if _taken(networks, name) is None:
            raise AssetMissing("The WebUI has no LoRA {name}, which the prompt asks for.", name=name)
        twins = [entry.name for entry in naming.listed(webui.folder_of(*_FOLDER)) if entry.value.stem == name]
        if len(twins) > 1:
            two = joined(twins[:2], " and ")
            raise AmbiguousName(
                Message(
                    "Two LoRAs are called {name}; the WebUI can't tell {two} apart. Rename one.", name=name, two=two
                )
            )


def check_applied(webui: WebUI, loras: Sequence[LoraRef], prompt: str, comments: Iterable[str]) -> None:
    """Check after a picture was made that the host has loaded every LoRA and complained of none. Raises
    :class:`HostFailed` otherwise."""
    networks = _networks(webui)
    asked = [(lora.name, lora.weight) for lora in loras] + _tags(prompt)
    if networks is None or not asked:
        return
    applied = {str(getattr(net, "name", "")) for net in networks.loaded_networks}
    applied |= {str(getattr(net, "mentioned_name", "")) for net in networks.loaded_networks}
    for name, weight in asked:
        if weight and name not in applied:
            raise HostFailed(
                "The WebUI could not load the LoRA {name}: is the file whole? Its log says more.", name=name
            )
        for comment in comments:
            if "with errors" in comment and name in comment:
                raise HostFailed("The LoRA {name} does not fit the base model: {comment}", name=name, comment=comment)


def check_numbers(loras: Iterable[LoraRef]) -> None:
    """Check the LoRAs after the host made a picture of NaN. Raises :class:`HostFailed` when a LoRA holds NaN, because
    the host itself blames the VAE and the settings."""
    from easyphoto.sd import lora as lora_files

    for lora in loras:
        try:
            lora_files.read(lora.path)
        except InvalidRequest as error:
            if "NaN" in str(error):
                raise HostFailed(error.message) from error


def refresh(webui: WebUI) -> None:
    """Make the host look into its LoRA folder again, and forget what it has read of a file that may have changed."""
    networks = _networks(webui)
    if networks is None:
        return
    cache: Any = getattr(networks, "load_lora_state_dict", None)
    if hasattr(cache, "cache_clear"):
        cache.cache_clear()
    # Some hosts tell by names and weights alone whether they have applied a LoRA already.
    data: Any = getattr(webui.sd_models, "model_data", None)
    model: Any = getattr(data, "sd_model", None)
    if hasattr(model, "current_lora_hash"):
        model.current_lora_hash = None
    networks.list_available_networks()


def _networks(webui: WebUI) -> Any | None:
    module = loaded(*webui.dialect.networks)
    return module if module is not None and hasattr(module, "available_networks") else None


def _taken(networks: Any | None, name: str, expected: Path | None = None) -> Path | None:
    """The file that the host takes for a name. Where the host knows no file of that name, or not the expected one, it
    looks into its folder again."""
    if networks is None:
        raise AssetMissing("The WebUI's built-in Lora extension is switched off: enable it in Extensions.")
    known = _known(networks, name)
    if known is None or (expected is not None and not _same(known, expected)):
        networks.list_available_networks()
        known = _known(networks, name)
    return known


def _tags(prompt: str) -> list[tuple[str, float]]:
    """The names and the weights of the LoRAs that a prompt asks for. A weight that is written in another way than as a
    number counts as 1."""
    found = []
    for name, weight in _TAG.findall(prompt):
        try:
            found.append((name, float(weight.split(":")[0])))
        except ValueError:
            found.append((name, 1.0))
    return found


def _shown(webui: WebUI, path: Path) -> str:
    """What a sentence calls a file: its path in the LoRA folder, or its name where it lies elsewhere."""
    folder, path = webui.folder_of(*_FOLDER), path.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _known(networks: Any, name: str) -> Path | None:
    """The file that the host would take for ``<lora:name:...>``."""
    forbidden = getattr(networks, "forbidden_network_aliases", {})
    table = networks.available_networks if name.lower() in forbidden else networks.available_network_aliases
    entry = table.get(name)
    return None if entry is None else Path(entry.filename)


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)
