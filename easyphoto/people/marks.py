"""What a person's files say of them: ``person.json``, and the metadata of scenes of the original extension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from easyphoto import checkpoint
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.storage import files

_KINDS: dict[str, type | tuple[type, ...]] = {
    "family": str,
    "base_model": str,
    "likeness": (int, float, type(None)),
    "cosine": (int, float, type(None)),
    "likeness_without_lora": (int, float, type(None)),
    "embedder": str,
    "panel": (dict, type(None)),
    "reward": (dict, type(None)),
    "works": bool,
    "cancelled": bool,
    "steps": int,
    "planned": int,
    "rank": int,
    "alpha": (int, float),
    "scene": bool,
    "trained": bool,
    "created": str,
    "former": list,
}
"""The fields that ``person.json`` may have, and the type of each."""


def read(path: Path) -> dict[str, Any]:
    """Return what ``person.json`` says; nothing where there is none. Raises :class:`InvalidRequest` when it can't be
    believed, and OSError when it can't be read."""
    try:
        data = files.read_json(path)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("{path} is damaged.", path=path.name) from error
    if not isinstance(data, dict):
        raise InvalidRequest("{path} is damaged.", path=path.name)
    for field, kinds in _KINDS.items():
        value = data.get(field)
        if field in data and not isinstance(value, kinds):
            raise InvalidRequest(
                "{path} is damaged: {field} can't be {value!r}.", path=path.name, field=field, value=str(value)[:40]
            )
    return data


def of_scene(lora: Path) -> dict[str, Any]:
    """Return the marks of a scene that the original extension trained, which wrote them into the LoRA; nothing for
    other LoRAs."""
    try:
        metadata = checkpoint.inspect(lora).metadata
    except EasyPhotoError:
        return {}
    if metadata.get("ep_lora_version") != "scene":
        return {}
    return {"scene": True, "prompt": metadata.get("ep_prompt", "")}
