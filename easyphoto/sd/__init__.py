"""Stable Diffusion on diffusers' parts: loading, prompts, samplers, rendering, LoRA files."""

from __future__ import annotations

from easyphoto.sd.loading import load, load_controlnet, load_vae
from easyphoto.sd.parts import Parts

__all__ = ["Parts", "load", "load_controlnet", "load_vae"]
