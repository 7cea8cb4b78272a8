"""The host of a program that runs without a WebUI: diffusers runs Stable Diffusion in this process."""

from __future__ import annotations

from easyphoto.hosts.embedded.host import EmbeddedHost

__all__ = ["EmbeddedHost"]
