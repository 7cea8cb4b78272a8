"""The scale of LoRAs whose tensors don't say it, as those that diffusers and PEFT wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PARTS = (("lora_unet_", "unet"), ("lora_te2_", "text_encoder_2"), ("lora_te", "text_encoder"))
METADATA = "lora_adapter_metadata"
"""The metadata in which diffusers keeps PEFT's settings, as JSON. A key begins with the part of the model that it is
about."""
SETTINGS = "adapter_config.json"
"""The file beside the weights in which PEFT keeps its settings."""


@dataclass(frozen=True)
class DeclaredAlphas:
    """PEFT's settings by part of the model; those under "" are about all parts."""

    settings: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, path: Path, metadata: Mapping[str, str]) -> DeclaredAlphas:
        """Return what the metadata of the file, or the file of settings beside it, say; nothing where they can't be
        read."""
        found: dict[str, dict[str, Any]] = {}
        for key, value in _mapping(metadata.get(METADATA, "")).items():
            part, _, name = key.partition(".")
            found.setdefault(part, {})[name] = value
        beside = path.with_name(SETTINGS)
        if path.name.startswith("adapter_model") and beside.is_file():
            found.setdefault("", _mapping(beside.read_text(encoding="utf-8", errors="replace")))
        return cls(found)

    def alpha(self, module: str, rank: int) -> float:
        """Return the alpha of a module of kohya's naming (with diffusers' blocks); its rank where nothing is
        declared."""
        part = next((name for prefix, name in _PARTS if module.startswith(prefix)), "")
        own = self.settings.get(part) or self.settings.get("") or {}
        alpha: Any = own.get("lora_alpha")
        patterns = own.get("alpha_pattern")
        for name, value in patterns.items() if isinstance(patterns, Mapping) else ():
            if module.endswith("_" + str(name).replace(".", "_")):
                alpha = value
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
            return float(rank)
        return float(alpha) * (math.sqrt(rank) if own.get("use_rslora") else 1.0)


def _mapping(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text) if text else {}
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
