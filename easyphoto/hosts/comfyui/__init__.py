"""The host of a program that drives a running ComfyUI over its HTTP and websocket API."""

from __future__ import annotations

from easyphoto.hosts.comfyui.comfyui_host import ComfyUIHost

__all__ = ["ComfyUIHost"]
