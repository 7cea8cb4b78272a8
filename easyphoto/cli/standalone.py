"""The program without a WebUI: the service on the embedded host."""

from __future__ import annotations

from easyphoto.config import Paths
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.service import EasyPhoto
from easyphoto.vision import registry


def build(paths: Paths) -> EasyPhoto:
    """The service on the embedded host, with the vision backends whose weights lie under ``paths.models``."""
    vision = registry.create(paths.models)
    return EasyPhoto(EmbeddedHost(paths, vision), vision, paths)
