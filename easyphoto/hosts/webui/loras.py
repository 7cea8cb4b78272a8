"""LoRAs in a WebUI: written into the prompt, and checked, because a host says nothing of one that it can't apply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from easyphoto.errors import AssetMissing, HostFailed, InvalidRequest
from easyphoto.hosts.webui.border import WebUI, loaded
from easyphoto.ports import LoraRef


def prompt_with(prompt: str, loras: Sequence[LoraRef]) -> str:
    """The prompt with the host's tags for the LoRAs."""
    for lora in loras:
        if any(c in lora.name for c in ":<>,"):
            raise InvalidRequest(f"The LoRA {lora.name!r} can't be named in a prompt: rename its file.")
    return " ".join([prompt, *(f"<lora:{lora.name}:{lora.weight:g}>" for lora in loras)]).strip()


def check(loras: Iterable[LoraRef]) -> None:
    """Every LoRA is a file, and the host knows it by its name; :class:`AssetMissing` otherwise."""
    networks = _networks()
    for lora in loras:
        if not lora.path.is_file():
            raise AssetMissing(f"The LoRA {lora.name} is not there: {lora.path.name} is missing in the LoRA folder.")
        if networks is None:
            raise AssetMissing("The WebUI's built-in Lora extension is switched off: enable it in Extensions.")
        known = _known(networks, lora.name)
        if known is None or not _same(known, lora.path):
            networks.list_available_networks()
            known = _known(networks, lora.name)
        if known is None:
            raise AssetMissing(f"The WebUI does not find the LoRA {lora.name}: it must lie in the WebUI's LoRA folder.")
        if not _same(known, lora.path):
            raise InvalidRequest(f"Two LoRAs are called {lora.name}; the WebUI would take {known.name}. Rename one.")


def check_applied(loras: Sequence[LoraRef], comments: Iterable[str]) -> None:
    """After generating: the host has loaded every LoRA, and none complained; :class:`HostFailed` otherwise."""
    networks = _networks()
    if networks is None or not loras:
        return
    applied = {str(getattr(net, "name", "")) for net in networks.loaded_networks}
    applied |= {str(getattr(net, "mentioned_name", "")) for net in networks.loaded_networks}
    for lora in loras:
        if lora.weight and lora.name not in applied:
            raise HostFailed(f"The WebUI could not load the LoRA {lora.name}: is the file whole? Its log says more.")
        for comment in comments:
            if "with errors" in comment and lora.name in comment:
                raise HostFailed(f"The LoRA {lora.name} does not fit the base model: {comment}")


def refresh(webui: WebUI) -> None:
    """Have the host look at its LoRA folder again, and forget what it read of a file that may be another now."""
    networks = _networks()
    if networks is None:
        return
    cache: Any = getattr(networks, "load_lora_state_dict", None)
    if hasattr(cache, "cache_clear"):
        cache.cache_clear()
    # Forge compares names and weights alone to tell whether a LoRA is applied already.
    data: Any = getattr(webui.sd_models, "model_data", None)
    model: Any = getattr(data, "sd_model", None)
    if hasattr(model, "current_lora_hash"):
        model.current_lora_hash = None
    networks.list_available_networks()


def _networks() -> Any | None:
    module = loaded("networks", "extensions_builtin.Lora.networks", "extensions_builtin.sd_forge_lora.networks")
    return module if module is not None and hasattr(module, "available_networks") else None


def _known(networks: Any, name: str) -> Path | None:
    """The file that the host would take for ``<lora:name:...>``."""
    forbidden = getattr(networks, "forbidden_network_aliases", {})
    table = networks.available_networks if name.lower() in forbidden else networks.available_network_aliases
    entry = table.get(name)
    return None if entry is None else Path(entry.filename)


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)
