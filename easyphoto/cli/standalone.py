"""The program without a WebUI: the service on the embedded host, or on another that a command names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from easyphoto.config import PRECISIONS, Paths
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.ports import Host, Vision
from easyphoto.service import EasyPhoto, Preferences
from easyphoto.service.kept_settings import KeptSettings
from easyphoto.vision import registry

COMMERCIAL_ONLY, PRECISION = "EASYPHOTO_COMMERCIAL_ONLY", "EASYPHOTO_PRECISION"
"""The environment variables that set, for every command, what its flags don't."""


def preferences(
    commercial_only: bool = False, precision: str | None = None, kept: KeptSettings | None = None
) -> Preferences:
    """Return the preferences of the flags, else those of the environment variables, else those that are ``kept``."""
    chosen = {} if kept is None else kept.values()
    said = os.environ.get(COMMERCIAL_ONLY, "").strip().lower()
    switch = said not in ("0", "false", "no", "off") if said else bool(chosen.get("commercial_only"))
    exact = precision or os.environ.get(PRECISION) or chosen.get("precision")
    return Preferences(commercial_only or switch, exact or PRECISIONS[0])


def build(
    paths: Paths,
    chosen: Preferences | None = None,
    devices: Sequence[str] = (),
    other_host: Callable[[Vision], Host | None] = lambda vision: None,
) -> EasyPhoto:
    """Return the service on the embedded host, with the vision backends whose weights lie under ``paths.models``.

    With ``devices`` the queue has a lane for each of them, with an engine and eyes of its own. ``other_host`` may give
    a host to take instead.
    """
    kept = KeptSettings(paths)
    decided = chosen or preferences(kept=kept)

    def eyes() -> Vision:
        return registry.create(paths.models, backends=kept.backends(), commercial_only=decided.commercial_only)

    vision = eyes()
    first = devices[0] if devices else None
    host = other_host(vision) or EmbeddedHost(paths, vision, first)
    service = EasyPhoto(host, vision, paths, preferences=lambda: decided)
    if devices:
        lanes = [service.runner(service.host, vision, devices[0])]
        for device in devices[1:]:
            others = eyes()
            lanes.append(service.runner(EmbeddedHost(paths, others, device), others, device))
        service.jobs.use(lanes)
    return service
