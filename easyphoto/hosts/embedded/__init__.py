"""The host of a program without a WebUI: Stable Diffusion by diffusers, in this process."""

from __future__ import annotations

from easyphoto.hosts.embedded.host import EmbeddedHost

__all__ = ["EmbeddedHost"]
