"""The program without a WebUI: the service on the embedded host."""

from __future__ import annotations

import os

from easyphoto.config import PRECISIONS, Paths
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.service import EasyPhoto, Preferences
from easyphoto.vision import registry

COMMERCIAL_ONLY, PRECISION = "EASYPHOTO_COMMERCIAL_ONLY", "EASYPHOTO_PRECISION"
"""The environment variables that set, for every command, what its flags don't."""


def preferences(commercial_only: bool = False, precision: str | None = None) -> Preferences:
    """Return the preferences of the flags, or those of the environment variables."""
    by_environment = os.environ.get(COMMERCIAL_ONLY, "").strip().lower() not in ("", "0", "false", "no", "off")
    return Preferences(commercial_only or by_environment, precision or os.environ.get(PRECISION) or PRECISIONS[0])


def build(paths: Paths, chosen: Preferences | None = None) -> EasyPhoto:
    """Return the service on the embedded host, with the vision backends whose weights lie under ``paths.models``."""
    decided = chosen or preferences()
    vision = registry.create(paths.models, commercial_only=decided.commercial_only)
    return EasyPhoto(EmbeddedHost(paths, vision), vision, paths, preferences=lambda: decided)
